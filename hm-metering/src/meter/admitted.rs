//! A request that was let through, as its admission and its charge share it: what it is, what was taken for it, and how it
//! becomes an event.

use std::fmt;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Method, StatusCode};
use smallvec::SmallVec;
use uuid::Uuid;

use super::Engine;
use super::account::Account;
use super::call::RequestId;
use super::decide::Decision;
use super::directory::Caller;
use super::hold::Holds;
use super::hooks::Finished;
use super::refuse::CODE_MAX;
use super::rejection::{Asked, Rejection};
use super::report::LimitReport;
use super::report::standing::{refuse_for_quota, report_with};
use super::said::Said;
use super::settle::{self, Settled};
use super::tally::{Tally, cut};
use super::undecided::Undecided;
use crate::charge_rule::Ending;
use crate::name::MeterName;
use crate::on_unavailable::OnUnavailable;
use crate::principal::Principal;
use crate::quota::nanos;
use crate::refusal::{Refusal, RefusalKind};
use crate::units::Units;
use crate::usage::Outcome;
use crate::usage::journal::record::{Charge, Draft};

/// The status that stands for "the client went away before there was one", as in nginx.
const CLIENT_GONE: u16 = 499;
/// UNKNOWN of gRPC.
const GRPC_UNKNOWN: u8 = 2;
pub(crate) const METHOD_MAX: usize = 32;

pub(crate) struct Admitted {
    pub(super) engine: Arc<Engine>,
    pub(super) caller: Arc<Caller>,
    pub(super) principal: Principal,
    pub(super) request: Undecided,
    pub(super) holds: Holds,
    pub(super) is_reserved: bool,
    pub(super) said: Said,
}

/// How far a response got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u8>,
    /// On the monotonic clock.
    pub(super) first_byte: Option<Duration>,
    pub(super) bytes: u64,
    /// The code of a refusal by something behind us.
    pub(super) refused: Option<&'static str>,
}

/// How a request ended, and what it is charged.
struct End<'a> {
    outcome: Outcome,
    grpc_status: Option<u8>,
    answered: &'a Answered,
    /// On the monotonic clock.
    now: Duration,
    /// What the handler said, if it said anything.
    tally: Option<&'a Tally>,
    units: &'a [(MeterName, Units)],
    charges: &'a [Charge],
    /// Whether it took more than was left.
    over: bool,
}

impl Answered {
    pub(super) const NOTHING: Self = Self {
        status: None,
        grpc_status: None,
        first_byte: None,
        bytes: 0,
        refused: None,
    };
}

pub(super) type Charged = SmallVec<[(MeterName, Units); 2]>;

impl Admitted {
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    pub(super) fn account(&self) -> &Account {
        &self.caller.account
    }

    pub(super) fn request_id(&self) -> RequestId {
        let given = self.request.texts.request_id();
        RequestId(given.map_or_else(|| self.request.id.to_string(), str::to_owned))
    }

    /// Writes the limits' headers and the request's id into the head of the answer.
    pub(super) fn write_headers(&self, answered: &Answered, headers: &mut HeaderMap) {
        let mut buffer = Uuid::encode_buffer();
        let id = match self.request.texts.request_id_bytes() {
            Some(given) => given,
            None => self
                .request
                .id
                .as_uuid()
                .hyphenated()
                .encode_lower(&mut buffer)
                .as_bytes(),
        };
        self.report(answered).write_with_id(id, headers);
    }

    /// Takes note that the request is served although a store could not answer.
    pub(super) fn note_fallback(&self) {
        let policy = self.request.operation.when_unavailable();
        self.request.operation.note_fallback();
        self.say(|tally| tally.tag(OnUnavailable::TAG, policy.as_str()));
    }

    /// Takes note of what a handler says, unless the request is over.
    pub(super) fn say(&self, change: impl FnOnce(&mut Tally)) {
        self.said.change(|words| change(&mut words.tally));
    }

    /// The answer to a request that has to be stopped, in place of its handler's.
    pub(super) fn reject(&self) -> Box<Rejection> {
        let lacking = self.said.so_far(|words| words.refused).flatten();
        let (account, now) = (self.account(), self.engine.now());
        let quota = lacking.and_then(|(place, need)| {
            let hold = &self.holds[place];
            let quota = match hold.lease.window().key_id() {
                Some(_) => self.caller.own_quotas()?.of_meter(hold.meter())?.0,
                None => {
                    account
                        .quotas()
                        .find(|(quota, _)| quota.meter == *hold.meter())?
                        .0
                }
            };
            Some(refuse_for_quota(account, quota, &hold.lease, need, now))
        });
        let (refusal, report) = match quota {
            Some(Decision::Refused(refusal, report)) => (refusal, Some(report)),
            _ => (Refusal::new(RefusalKind::QuotaExceeded), None),
        };
        let asked = Asked {
            request_id: self.request_id().0,
            form: self.request.form,
            operation: Some(Arc::clone(&self.request.operation)),
            principal: Some(self.principal().clone()),
            is_head: self.request.method == Method::HEAD,
        };
        Box::new(Rejection::new(refusal, report, asked))
    }

    /// The limits as they stand, with what the request is charged if its response ends well.
    pub(super) fn report(&self, answered: &Answered) -> LimitReport {
        let outcome = self.true_outcome(Outcome::Completed);
        let ending = Ending::new(outcome, answered.status, answered.grpc_status);
        let is_charged = answered.refused.is_none()
            && (answered.status.is_none()
                || self
                    .request
                    .operation
                    .charge_rule()
                    .is_expected_to_charge(&ending));
        let units = |meter: &MeterName| match is_charged {
            true => self.asked_of(meter),
            false => Units::ZERO,
        };
        report_with(self.account(), &self.holds, units, self.request.arrived)
    }

    /// What the request takes of `meter`, as declared and said.
    fn asked_of(&self, meter: &MeterName) -> Units {
        let said = self.said.so_far(|words| {
            let said = words.tally.meters.iter().find(|(has, _)| has == meter);
            said.map(|(_, units)| *units)
        });
        said.flatten()
            .unwrap_or_else(|| self.request.operation.units_of(meter))
    }

    /// What the request takes by meter, as declared and said, sorted.
    fn asked(&self, said: Option<&Tally>) -> Charged {
        let mut meters = Charged::from(self.request.operation.costs());
        for (meter, units) in said.iter().flat_map(|tally| &tally.meters) {
            match meters.binary_search_by(|(has, _)| has.cmp(meter)) {
                Ok(place) => meters[place].1 = *units,
                Err(place) => meters.insert(place, (meter.clone(), *units)),
            }
        }
        meters
    }

    /// Settles the charge and writes the event. Called once; never waits.
    pub(super) fn finish(&self, outcome: Outcome, answered: &Answered) {
        let now = self.engine.clock.monotonic();
        let outcome = self.true_outcome(outcome);
        let grpc_status = answered
            .grpc_status
            .or_else(|| self.missing_status(outcome, answered));
        let ending = Ending::new(outcome, answered.status, grpc_status);
        let said = self.said.finish();
        // A refused request takes nothing, whatever the rule.
        let is_charged =
            answered.refused.is_none() && self.request.operation.charge_rule().is_charged(&ending);
        let mut end = End {
            outcome,
            grpc_status,
            answered,
            now,
            tally: None,
            units: &[],
            charges: &[],
            over: false,
        };
        if is_charged
            && said.is_none()
            && let Some(charge) = settle::as_taken(self)
        {
            end.units = self.request.operation.costs();
            end.charges = slice::from_ref(&charge);
            self.write(&end);
            return;
        }
        end.tally = said.as_ref().map(|said| &said.tally);
        let mut units = if is_charged {
            self.asked(end.tally)
        } else {
            Charged::new()
        };
        let extra = said.as_ref().map_or(&[][..], |said| &said.extra[..]);
        let Settled { charges, over } = settle::settle(self, nanos(now), &mut units, extra);
        end.units = &units;
        end.charges = &charges;
        end.over = over;
        self.write(&end);
    }

    /// Writes the event, gives the slots back, and tells those who listen.
    fn write(&self, end: &End<'_>) {
        let (answered, tally) = (end.answered, end.tally);
        let since_arrival = |at: Duration| at.saturating_sub(self.request.arrived.monotonic);
        let first_byte = answered.first_byte.or((answered.bytes > 0).then_some(end.now));
        let draft = Draft {
            id: self.request.id,
            at: self.request.arrived.wall,
            account: self.account().id,
            user: self.principal().user(),
            key: self.principal().key(),
            status: self.final_status(end.outcome, answered),
            outcome: end.outcome,
            grpc_status: end.grpc_status,
            over: end.over || self.holds.is_over(),
            response_time_us: micros(since_arrival(end.now)),
            first_byte_us: first_byte.map(|at| micros(since_arrival(at))),
            bytes_in: self.request.bytes_in,
            bytes_out: answered.bytes,
            operation: self.request.operation.name().as_str(),
            endpoint: self.request.texts.endpoint(),
            method: cut(self.request.method.as_str(), METHOD_MAX),
            request_id: self.request.texts.request_id_bytes(),
            source: tally.and_then(|tally| tally.source.as_deref()),
            refusal: answered.refused.map(|code| cut(code, CODE_MAX)),
            would_refuse: self.holds.would_refuse(),
            tags: tally.map_or(&[], |tally| &tally.tags),
            units: end.units,
            plan: self.account().plan().id.as_str(),
            charges: end.charges,
        };
        self.engine.append(&draft, self.is_reserved);
        // A handler may keep its charge for longer, and the request with it.
        self.holds.leave_slots();
        self.tell(&draft, since_arrival(end.now));
    }

    /// Tells those who listen that the request is over.
    fn tell(&self, draft: &Draft<'_>, response_time: Duration) {
        self.request.operation.note_finished(draft.outcome, response_time);
        tracing::debug!(
            account.id = %self.account().id,
            key.id = draft.key.map(tracing::field::display),
            operation.name = draft.operation,
            outcome = draft.outcome.as_str(),
            status = draft.status,
            units = %Spelled(draft.units),
            duration_ms = draft.response_time_us / 1_000,
            bytes.out = draft.bytes_out,
            event.id = %self.request.id,
            "a request is over"
        );
        let finished = || Finished {
            event: self.request.id,
            principal: self.principal(),
            operation: &self.request.operation,
            outcome: draft.outcome,
            status: draft.status,
            grpc_status: draft.grpc_status,
            units: draft.units,
            over: draft.over,
            response_time,
            bytes_out: draft.bytes_out,
        };
        self.engine.hooks.finished(finished, &self.engine.measures);
    }

    fn true_outcome(&self, outcome: Outcome) -> Outcome {
        let may_be_timeout = matches!(
            outcome,
            Outcome::Completed | Outcome::ClientGone | Outcome::ServiceError | Outcome::BodyError
        );
        if may_be_timeout && self.said.is_timed_out() {
            Outcome::TimedOut
        } else {
            outcome
        }
    }

    /// The status of a gRPC call whose answer was over without one, as its client has to see it.
    fn missing_status(&self, outcome: Outcome, answered: &Answered) -> Option<u8> {
        let is_missing = outcome == Outcome::Completed
            && answered.status == Some(StatusCode::OK)
            && self.request.form.has_status_in_headers();
        is_missing.then_some(GRPC_UNKNOWN)
    }

    fn final_status(&self, outcome: Outcome, answered: &Answered) -> u16 {
        let unanswered = match outcome {
            Outcome::ClientGone => CLIENT_GONE,
            Outcome::NotReached | Outcome::TimedOut => StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            Outcome::Completed
            | Outcome::Refused
            | Outcome::BodyError
            | Outcome::ServiceError
            | Outcome::Panicked
            | Outcome::Stopped => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        };
        answered.status.map_or(unanswered, |status| status.as_u16())
    }
}

/// Units by meter, as a log has them.
struct Spelled<'a>(&'a [(MeterName, Units)]);

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (meter, units)) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{meter}={units}")?;
        }
        Ok(())
    }
}

pub(super) const fn micros(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1_000_000);
    whole.saturating_add(time.subsec_micros() as u64)
}
