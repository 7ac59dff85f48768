//! Deciding from memory, in the order that a caller should meet it, and what the decision becomes.

use std::net::IpAddr;
use std::sync::Arc;

use super::admission::Admission;
use super::admitted::Admitted;
use super::call::Call;
use super::decide::{self, Decision, Now, Store, decide};
use super::directory::Caller;
use super::hold::Holds;
use super::rejection::Rejection;
use super::report;
use super::undecided::{Decided, Question, Refused, Undecided};
use super::{Engine, SOON, said};
use crate::operation::Operation;
use crate::refusal::{Refusal, RefusalKind};
use crate::units::Units;

impl Engine {
    /// Everything that can be decided from memory, in the order that a caller should meet it.
    pub(super) fn decide(
        &self,
        caller: &Arc<Caller>,
        operation: &Operation,
        (client, call): (impl FnOnce() -> Option<IpAddr>, Option<&Call<'_>>),
        store: Store,
        now: Now,
    ) -> Decided {
        if let Err(reason) = caller.check_dates(now.wall) {
            return Decided::refused(Refusal::new(RefusalKind::InvalidKey(reason)), None);
        }
        // Whoever has a key in the wrong place is told nothing of the account, and makes no store call.
        if let Err(refusal) = caller.check_address(client) {
            return Decided::refused(refusal, None);
        }
        if let Err(refusal) = operation.permit(Some(&**caller)) {
            return match report::standing::stand(&caller.account, self.book.is_some(), now) {
                Ok(report) => Decided::refused(refusal, Some(report)),
                Err(lease) => Decided::Ask(Question {
                    lease,
                    limit: None,
                    need: Units::ZERO,
                }),
            };
        }
        if let Err(refusal) = self
            .hooks
            .decide(|| caller.principal(), operation, call, &self.measures)
        {
            let report = report::standing::stand(&caller.account, self.book.is_some(), now).ok();
            return Decided::refused(refusal, report);
        }
        match decide(
            &caller.account,
            caller.own(),
            operation,
            self.book.as_ref(),
            store,
            now,
        ) {
            Decision::Allowed(holds) => Decided::Ready(Ok(holds)),
            Decision::Refused(refusal, report) => Decided::refused(refusal, Some(report)),
            Decision::Ask { lease, limit, need } => Decided::Ask(Question { lease, limit, need }),
        }
    }

    /// Turns a decision into an admission or a recorded refusal.
    pub(super) fn conclude(
        self: &Arc<Self>,
        request: impl FnOnce() -> Undecided,
        caller: Arc<Caller>,
        decision: Result<Holds, Box<Refused>>,
        now: Now,
    ) -> Result<Admission, Box<Rejection>> {
        let holds = match decision {
            Ok(allowed) => allowed,
            Err(refused) => {
                let request = request();
                let Refused { refusal, report } = *refused;
                return Err(self.refuse(&request, &caller, refusal, report, now));
            }
        };
        // The event's place is taken before the request is served, so that none is ever lost there.
        let is_safe = self.sheds || self.log.is_forced();
        let is_reserved = is_safe && self.log.reserve(0);
        if !is_reserved && (!self.sheds || self.log.is_closed()) {
            decide::undo(&caller.account, caller.buckets(), &holds);
            let why = if self.log.is_closed() {
                "the meter has been shut down"
            } else if !is_safe {
                "the journal can't be forced to the disk"
            } else {
                "there is no room for its event"
            };
            tracing::warn!(reason = why, "a request is refused");
            let refusal = Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON);
            let report = report::standing::stand(&caller.account, self.book.is_some(), now).ok();
            return Err(request().rejected(self, Some(&caller), refusal, report));
        }
        if !is_reserved {
            self.measures.shed();
        }
        let is_of_store = holds.is_fallback();
        let admitted = Arc::new(Admitted {
            engine: Arc::clone(self),
            principal: caller.principal(),
            caller,
            request: request(),
            holds,
            is_reserved,
            said: said::Said::default(),
        });
        if is_of_store || admitted.request.is_fallback {
            admitted.note_fallback();
        }
        Ok(Admission::new(admitted))
    }
}
