//! A request that was let through, as its admission and its charge share it: what it is, what was taken for it, and how it
//! becomes an event.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderMap;
use http::{Method, StatusCode};
use smallvec::SmallVec;
use uuid::Uuid;

use super::Engine;
use super::account::Account;
use super::call::{RequestId, Texts};
use super::decide::{Decision, Hold, Holds, Now};
use super::directory::Caller;
use super::hooks::Finished;
use super::rejection::{Asked, Form, Rejection};
use super::report::LimitReport;
use super::report::standing::{refuse_for_quota, report_with};
use super::said::Said;
use super::tally::{Tally, cut};
use crate::charge_rule::{Ending, Overrun};
use crate::id::EventId;
use crate::name::MeterName;
use crate::on_unavailable::OnUnavailable;
use crate::operation::Operation;
use crate::principal::Principal;
use crate::quota::{Lease, nanos};
use crate::refusal::{Refusal, RefusalKind};
use crate::units::Units;
use crate::usage::Outcome;
use crate::usage::journal::record::{self, Draft};

/// The status that stands for "the client went away before there was one", as in nginx.
const CLIENT_GONE: u16 = 499;
pub(crate) const METHOD_MAX: usize = 32;

pub(crate) struct Admitted {
    pub(super) engine: Arc<Engine>,
    pub(super) caller: Arc<Caller>,
    pub(super) principal: Principal,
    pub(super) operation: Arc<Operation>,
    pub(super) id: EventId,
    pub(super) arrived: Now,
    pub(super) method: Method,
    pub(super) texts: Texts,
    pub(super) bytes_in: u64,
    pub(super) form: Form,
    pub(super) holds: Holds,
    pub(super) is_reserved: bool,
    pub(super) said: Said,
}

/// How far a response got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answered {
    pub(super) status: Option<StatusCode>,
    pub(super) grpc_status: Option<u8>,
    /// On the monotonic clock.
    pub(super) first_byte: Option<Duration>,
    pub(super) bytes: u64,
}

type Charged = SmallVec<[(MeterName, Units); 2]>;

impl Admitted {
    pub(super) fn principal(&self) -> &Principal {
        &self.principal
    }

    fn account(&self) -> &Account {
        &self.caller.account
    }

    pub(super) fn request_id(&self) -> RequestId {
        let given = self.texts.request_id();
        RequestId(given.map_or_else(|| self.id.to_string(), str::to_owned))
    }

    /// Writes the limits' headers and the request's id into the head of the answer.
    pub(super) fn write_headers(&self, answered: &Answered, headers: &mut HeaderMap) {
        let mut buffer = Uuid::encode_buffer();
        let id = match self.texts.request_id_bytes() {
            Some(given) => given,
            None => self
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
        let policy = self.operation.when_unavailable();
        self.operation.note_fallback();
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
            let (quota, _) = account.quotas().find(|(quota, _)| quota.meter == *hold.meter())?;
            Some(refuse_for_quota(account, quota, &hold.lease, need, now))
        });
        let (refusal, report) = match quota {
            Some(Decision::Refused(refusal, report)) => (refusal, Some(report)),
            _ => (Refusal::new(RefusalKind::QuotaExceeded), None),
        };
        let asked = Asked {
            request_id: self.request_id().0,
            form: self.form,
            operation: Some(Arc::clone(&self.operation)),
            principal: Some(self.principal().clone()),
        };
        Box::new(Rejection::new(refusal, report, asked))
    }

    /// The limits as they stand, with what the request is charged if its response ends well.
    pub(super) fn report(&self, answered: &Answered) -> LimitReport {
        let outcome = self.true_outcome(Outcome::Completed);
        let ending = Ending::new(outcome, answered.status, answered.grpc_status);
        let is_charged = answered.status.is_none() || self.operation.charge_rule().is_charged(&ending);
        let units = |meter: &MeterName| match is_charged {
            true => self.asked_of(meter),
            false => Units::ZERO,
        };
        report_with(self.account(), &self.holds, units, self.arrived)
    }

    /// What the request takes of `meter`, as declared and said.
    fn asked_of(&self, meter: &MeterName) -> Units {
        let said = self.said.so_far(|words| {
            let said = words.tally.meters.iter().find(|(has, _)| has == meter);
            said.map(|(_, units)| *units)
        });
        said.flatten().unwrap_or_else(|| self.operation.units_of(meter))
    }

    /// What the request takes by meter, as declared and said, sorted.
    fn asked(&self, said: Option<&Tally>) -> Charged {
        let costs = self.operation.costs().iter();
        let mut meters: Charged = costs.map(|cost| (cost.meter.clone(), cost.units)).collect();
        for (meter, units) in said.iter().flat_map(|tally| &tally.meters) {
            match meters.iter_mut().find(|(has, _)| has == meter) {
                Some(entry) => entry.1 = *units,
                None => meters.push((meter.clone(), *units)),
            }
        }
        if meters.len() > 1 {
            meters.sort_unstable();
        }
        meters
    }

    /// Settles the charge and writes the event. Called once; never waits.
    pub(super) fn finish(&self, outcome: Outcome, answered: &Answered) {
        let now = self.engine.clock.monotonic();
        let outcome = self.true_outcome(outcome);
        let ending = Ending::new(outcome, answered.status, answered.grpc_status);
        let said = self.said.finish();
        let tally = said.as_ref().map(|said| &said.tally);
        let mut units = if self.operation.charge_rule().is_charged(&ending) {
            self.asked(tally)
        } else {
            Charged::new()
        };
        let extra = said.as_ref().map_or(&[][..], |said| &said.extra[..]);
        let mut settling = Settling {
            request: self,
            ticks: nanos(now),
            charges: SmallVec::new(),
            over: false,
        };
        settling.settle(&mut units, extra);
        let Settling { charges, over, .. } = settling;
        let draft = Draft {
            id: self.id,
            at: self.arrived.wall,
            account: self.account().id,
            user: self.principal().user(),
            key: self.principal().key(),
            status: self.final_status(outcome, answered),
            outcome,
            grpc_status: answered.grpc_status,
            over: over || self.holds.is_over(),
            response_time_us: micros(now.saturating_sub(self.arrived.monotonic)),
            first_byte_us: answered
                .first_byte
                .or((answered.bytes > 0).then_some(now))
                .map(|at| micros(at.saturating_sub(self.arrived.monotonic))),
            bytes_in: self.bytes_in,
            bytes_out: answered.bytes,
            operation: self.operation.name().as_str(),
            endpoint: self.texts.endpoint(),
            method: cut(self.method.as_str(), METHOD_MAX),
            request_id: self.texts.request_id_bytes(),
            source: tally.and_then(|tally| tally.source.as_deref()),
            refusal: None,
            would_refuse: self.holds.would_refuse(),
            tags: tally.map_or(&[], |tally| &tally.tags),
            units: &units,
            plan: self.account().plan().id.as_str(),
            charges: &charges,
        };
        self.engine.append(&draft, self.is_reserved);
        // A handler may keep its charge for longer, and the request with it.
        self.holds.leave_slots();
        self.tell(&draft, now.saturating_sub(self.arrived.monotonic));
    }

    /// Tells those who listen that the request is over.
    fn tell(&self, draft: &Draft<'_>, response_time: Duration) {
        self.operation.note_finished(draft.outcome, response_time);
        tracing::debug!(
            account.id = %self.account().id,
            key.id = draft.key.map(tracing::field::display),
            operation.name = draft.operation,
            outcome = draft.outcome.as_str(),
            status = draft.status,
            units = %Spelled(draft.units),
            duration_ms = draft.response_time_us / 1_000,
            bytes.out = draft.bytes_out,
            event.id = %self.id,
            "a request is over"
        );
        let finished = || Finished {
            event: self.id,
            principal: self.principal(),
            operation: &self.operation,
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

/// Makes what was taken for a request equal to what it is charged, counter by counter.
struct Settling<'a> {
    request: &'a Admitted,
    ticks: u64,
    charges: SmallVec<[record::Charge; 2]>,
    over: bool,
}

impl Settling<'_> {
    /// `units` become what is charged; meters with nothing charged are left out.
    fn settle(&mut self, units: &mut Charged, extra: &[Units]) {
        let holds = &self.request.holds;
        let mut parts: SmallVec<[(usize, Parts); 2]> = SmallVec::new();
        for (place, hold) in holds.iter().enumerate() {
            let extra = extra.get(place).copied().unwrap_or_default();
            let entry = units.iter_mut().find(|(has, _)| has == hold.meter());
            let asked = entry.as_ref().map_or(Units::ZERO, |(_, units)| *units);
            let charged = self.bring_to(hold, extra, asked);
            if let Some(entry) = entry {
                entry.1 = charged.leased.plus(charged.unleased);
            }
            parts.push((place, charged));
        }
        units.retain(|(_, units)| !units.is_zero());
        let place_of = |meter: &MeterName| units.iter().position(|(has, _)| has == meter);
        for (place, charged) in parts {
            let hold = &holds[place];
            if let Some(at) = place_of(hold.meter()) {
                self.write(at, &hold.lease, hold.limit, charged.leased, true);
                self.write(at, &hold.lease, hold.limit, charged.unleased, false);
            }
        }
        for (at, (meter, units)) in units.iter().enumerate() {
            if !holds.iter().any(|hold| hold.meter() == meter) {
                self.charge_unheld(at, meter, *units);
            }
        }
    }

    /// Gives back what was taken too much, or takes what is missing.
    fn bring_to(&mut self, hold: &Hold, extra: Units, asked: Units) -> Parts {
        let window = hold.lease.window();
        let reserved = hold.units.plus(extra);
        let more = asked.minus(reserved);
        let back = reserved.minus(asked);
        // What was leased on the way goes back first.
        let back_of_extra = back.min(extra);
        if !back_of_extra.is_zero() {
            window.put_back(back_of_extra);
        }
        if back > back_of_extra {
            hold.put_back(back.minus(back_of_extra));
        }
        let of_hold = hold.units.minus(back.minus(back_of_extra));
        let of_lease = extra.minus(back_of_extra);
        let mut parts = if hold.leased {
            Parts::new(of_hold.plus(of_lease), Units::ZERO)
        } else {
            Parts::new(of_lease, of_hold)
        };
        if more.is_zero() {
            return parts;
        }
        let Some(limit) = hold.limit else {
            window.note_taken(more);
            parts.unleased = parts.unleased.plus(more);
            return parts;
        };
        let mut rest = more;
        // A response that was stopped has handed over no more than was reserved for it.
        if !self.request.said.is_stopped() {
            let (taken, _) = window.take_some(more, self.ticks);
            parts.leased = parts.leased.plus(taken);
            rest = rest.minus(taken);
        }
        if !rest.is_zero()
            && (hold.never_refuses() || self.request.operation.on_overrun() == Overrun::Overflow)
        {
            // Served already, so it counts. It did not come out of the lease, and must not be taken out of what is leased.
            window.note_taken(rest);
            if hold.is_of_allowance() {
                window.note_allowance(rest);
            }
            parts.unleased = parts.unleased.plus(rest);
            self.over |= window.taken_by_all() > limit || !window.may_have_more(limit, self.ticks);
        }
        parts
    }

    /// Charges a meter that the operation did not name, so nothing was looked at or taken. It is counted all the same.
    fn charge_unheld(&mut self, at: usize, meter: &MeterName, units: Units) {
        let (account, arrived) = (self.request.account(), self.request.arrived.wall);
        let Some((quota, counter)) = account.quotas().find(|(quota, _)| quota.meter == *meter) else {
            return;
        };
        let lease = counter.open(arrived);
        lease.window().note_taken(units);
        let taken = lease.window().taken_by_all();
        self.over |= quota.limit.is_some_and(|limit| taken > limit);
        self.write(at, &lease, quota.limit, units, false);
    }

    /// A charge, which counts from now on.
    fn write(&mut self, at: usize, lease: &Lease, limit: Option<Units>, units: Units, leased: bool) {
        if units.is_zero() {
            return;
        }
        lease.window().note_charged(units);
        if !leased && limit.is_some() {
            lease.window().note_debt(units);
        }
        self.charges.push(record::Charge {
            meter: u8::try_from(at).unwrap_or(u8::MAX),
            period: lease.window().period(),
            limit,
            lease: leased.then(|| lease.token()).flatten(),
            units,
        });
    }
}

/// What is charged on one counter.
#[derive(Clone, Copy)]
struct Parts {
    /// Out of a lease.
    leased: Units,
    unleased: Units,
}

impl Parts {
    const fn new(leased: Units, unleased: Units) -> Self {
        Self { leased, unleased }
    }
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
