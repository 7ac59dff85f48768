//! Refusing a request: the answer, its event, and who is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;

use super::admitted::{METHOD_MAX, micros};
use super::call::Call;
use super::decide::Now;
use super::directory::Caller;
use super::heads::Heads;
use super::rejection::{Asked, Rejection};
use super::report::LimitReport;
use super::tally::cut;
use super::undecided::Undecided;
use super::{Admit, Engine};
use crate::operation::Operation;
use crate::principal::Identity;
use crate::refusal::{Refusal, RefusalKind};
use crate::usage::Outcome;
use crate::usage::journal::record::Draft;

/// A hook's code is cut to this.
pub(super) const CODE_MAX: usize = 64;
/// The part of the room for events that refused requests leave alone, in hundredths.
const HALF: i64 = 50;

impl Engine {
    /// Refuses a request, and says so to those who listen.
    pub(super) fn reject(
        &self,
        refusal: Refusal,
        report: Option<LimitReport>,
        asked: Asked,
    ) -> Box<Rejection> {
        if let Some(operation) = &asked.operation {
            operation.note_refused(refusal.code());
        }
        let rejection = Rejection::new(refusal, report, asked);
        self.hooks.refused(rejection.trace(), &self.measures);
        Box::new(rejection)
    }

    /// Refuses a request of nobody we know. It is in no account's ledger.
    pub(super) fn turn_away<'a>(
        &self,
        kind: RefusalKind,
        operation: &Arc<Operation>,
        (call, heads): (Call<'a>, &Heads<'a>),
        now: Now,
    ) -> Admit {
        let id = call
            .request_id(heads)
            .map_or_else(|| self.ids.next(now.wall).to_string(), str::to_owned);
        let asked = Asked {
            request_id: id,
            form: call.form(heads),
            operation: Some(Arc::clone(operation)),
            principal: None,
            is_head: *call.method == Method::HEAD,
        };
        operation.note_finished(Outcome::Refused, Duration::ZERO);
        Admit::Ready(Err(self.reject(Refusal::new(kind), None, asked)))
    }

    pub(super) fn refuse(
        &self,
        request: &Undecided,
        caller: &Arc<Caller>,
        refusal: Refusal,
        report: Option<LimitReport>,
        now: Now,
    ) -> Box<Rejection> {
        // A key that is not accepted speaks for nobody, whether or not its record is in memory.
        if !matches!(refusal.kind(), RefusalKind::InvalidKey(_)) {
            self.record_refusal(request, caller, &refusal, now);
        }
        request.rejected(self, Some(caller), refusal, report)
    }

    fn record_refusal(&self, request: &Undecided, caller: &Caller, refusal: &Refusal, now: Now) {
        let draft = Draft {
            id: request.id,
            at: request.arrived.wall,
            account: caller.account.id,
            user: caller.user(),
            key: caller.key(),
            status: refusal.status().as_u16(),
            outcome: Outcome::Refused,
            grpc_status: None,
            over: false,
            response_time_us: micros(now.monotonic.saturating_sub(request.arrived.monotonic)),
            first_byte_us: None,
            bytes_in: request.bytes_in,
            bytes_out: 0,
            operation: request.operation.name().as_str(),
            endpoint: request.texts.endpoint(),
            method: cut(request.method.as_str(), METHOD_MAX),
            request_id: request.texts.request_id_bytes(),
            source: None,
            refusal: Some(cut(refusal.code(), CODE_MAX)),
            would_refuse: None,
            tags: &[],
            units: &[],
            plan: caller.account.plan().id.as_str(),
            charges: &[],
        };
        // Half of the room is for requests that were let through: one who is refused often must not get others refused.
        if !(self.log.reserve(HALF) && self.append(&draft, true)) {
            self.measures.refusal_missed();
            let missed = self.refusals_missed.fetch_add(1, Ordering::Relaxed) + 1;
            // Once for each doubling, so that a flood of refusals is not a flood in the log.
            if missed.is_power_of_two() {
                tracing::warn!(
                    refusals.missed = missed,
                    "refused requests are not recorded: half of the room for events is taken"
                );
            }
        }
    }
}
