//! A request that was let through, from its admission to its one event.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use smallvec::SmallVec;
use tokio::sync::mpsc::OwnedPermit;

use super::account::Account;
use super::call::Facts;
use super::charge::Charge;
use super::decide::{Hold, Holds, Now, open};
use super::flusher::{Charged, Finished};
use super::report::LimitReport;
use super::report::standing::report_with;
use crate::id::{EventId, ReplicaId};
use crate::name::MeterName;
use crate::operation::Operation;
use crate::principal::Principal;
use crate::quota::{Lease, Take, nanos};
use crate::time::Clock;
use crate::units::Units;
use crate::usage::{Event, Outcome};

/// The status that stands for "the client went away before there was one", as in nginx.
const CLIENT_GONE: u16 = 499;

/// A request that was let through. It owns what was taken for it, and turns into exactly one event, whatever happens:
/// when it is [finished](Admission::finish), or else when it is dropped.
///
/// The one who serves the request tells it how far it got: [`handler_called`](Admission::handler_called) before the
/// handler is called, [`answered`](Admission::answered) when there is a status, `finish` when the response is over.
/// Dropping it earlier records what is known by then: the handler was never reached, or panicked, or the client left.
pub struct Admission {
    open: Option<Box<Open>>,
}

pub(crate) struct Open {
    pub(crate) id: EventId,
    pub(crate) replica: ReplicaId,
    pub(crate) permit: OwnedPermit<Finished>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) arrived: Now,
    pub(crate) facts: Facts,
    pub(crate) operation: Arc<Operation>,
    pub(crate) principal: Principal,
    pub(crate) account: Arc<Account>,
    pub(crate) holds: Holds,
    pub(crate) charge: Charge,
    pub(crate) report: LimitReport,
    pub(crate) reached: bool,
    pub(crate) running: bool,
    pub(crate) status: Option<StatusCode>,
}

impl Admission {
    pub(crate) fn new(open: Open) -> Self {
        Self {
            open: Some(Box::new(open)),
        }
    }

    /// The caller.
    ///
    /// # Panics
    /// Never: an admission is open until it is finished, which consumes it.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.open().principal
    }

    /// The handle that goes into the request's extensions.
    #[must_use]
    pub fn charge(&self) -> &Charge {
        &self.open().charge
    }

    /// The limits it was decided by.
    #[must_use]
    pub fn report(&self) -> &LimitReport {
        &self.open().report
    }

    /// Whether a soft quota was used up, and let the request through all the same.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.open().holds.is_over()
    }

    /// The code that the request would have been refused with, had a quota in shadow mode been strict.
    #[must_use]
    pub fn would_refuse(&self) -> Option<&'static str> {
        self.open().holds.would_refuse()
    }

    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.open().facts.request_id
    }

    /// Whether the response to this request has no body, whatever its headers say.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let of_status = |status: StatusCode| matches!(status.as_u16(), 100..=199 | 204 | 304);
            open.facts.method == "HEAD" || open.status.is_some_and(of_status)
        })
    }

    /// The handler is about to be called.
    pub fn handler_called(&mut self) {
        if let Some(open) = &mut self.open {
            open.reached = true;
        }
    }

    /// The handler's code runs from now on, or no longer. When the admission is dropped in between, it panicked.
    pub fn set_running(&mut self, running: bool) {
        if let Some(open) = &mut self.open {
            open.running = running;
        }
    }

    /// The handler answered with this status; its body may still be on the way. The limits' state counts in from now on what
    /// the request is charged if its body ends well, and what others were charged meanwhile.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(open) = &mut self.open {
            open.status = Some(status);
            let charged = open.charged_if(Outcome::Completed);
            let units = |meter: &MeterName| {
                charged
                    .iter()
                    .find(|(has, _)| has == meter)
                    .map_or(Units::ZERO, |(_, units)| *units)
            };
            open.report = report_with(&open.account, units, open.arrived);
        }
    }

    /// The request is over. Settles the charge and sends the event on its way; never waits.
    pub fn finish(mut self, outcome: Outcome) {
        if let Some(open) = self.open.take() {
            open.finish(outcome);
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "only `finish` and `drop` take it out, and both end the admission"
    )]
    fn open(&self) -> &Open {
        self.open
            .as_ref()
            .expect("an admission is open until it is finished")
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let outcome = if !open.reached {
            Outcome::NotReached
        } else if open.running || std::thread::panicking() {
            Outcome::Panicked
        } else {
            Outcome::ClientGone
        };
        open.finish(outcome);
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("principal", &self.open.as_ref().map(|open| &open.principal))
            .finish()
    }
}

impl Open {
    fn finish(self, outcome: Outcome) {
        let now = self.clock.monotonic();
        let status = self.final_status(outcome);
        let meters = self.charged_if(outcome);
        let charges = self.settle(&meters, now);
        let said = self.charge.said().unwrap_or_default();
        let event = Event {
            id: self.id,
            at: self.arrived.wall,
            account: self.principal.account(),
            user: self.principal.user(),
            key: self.principal.key(),
            operation: self.operation.name().clone(),
            endpoint: self.facts.endpoint,
            method: self.facts.method,
            source: said.source,
            status,
            grpc_status: None,
            outcome,
            refusal: None,
            would_refuse: self.holds.would_refuse().map(str::to_owned),
            units: meters,
            over: self.holds.is_over(),
            response_time_us: micros(now.saturating_sub(self.arrived.monotonic)),
            first_byte_us: None,
            bytes_in: 0,
            bytes_out: 0,
            request_id: self.facts.request_id,
            replica: self.replica,
            tags: said.tags,
        };
        self.permit.send(Finished { event, charges });
    }

    /// What is charged by meter, sorted, if the request ends like this.
    fn charged_if(&self, outcome: Outcome) -> Vec<(MeterName, Units)> {
        if !is_charged(outcome, self.final_status(outcome)) {
            return Vec::new();
        }
        let costs = self.operation.costs().iter();
        let mut meters: Vec<_> = costs.map(|cost| (cost.meter.clone(), cost.units)).collect();
        for (meter, units) in self.charge.said().unwrap_or_default().meters {
            match meters.iter_mut().find(|(has, _)| *has == meter) {
                Some(entry) => entry.1 = units,
                None => meters.push((meter, units)),
            }
        }
        meters.retain(|(_, units)| !units.is_zero());
        meters.sort();
        meters
    }

    /// Makes what was taken equal to what is charged, counter by counter.
    fn settle(&self, meters: &[(MeterName, Units)], now: Duration) -> SmallVec<[Charged; 1]> {
        let mut charges = SmallVec::new();
        let ticks = nanos(now);
        for hold in self.holds.iter() {
            let meter = &hold.lease.window().key().meter;
            let units = meters
                .iter()
                .find(|(has, _)| has == meter)
                .map_or(Units::ZERO, |(_, units)| *units);
            self.settle_hold(hold, units, ticks, &mut charges);
        }
        for (meter, units) in meters {
            let is_held = self
                .holds
                .iter()
                .any(|hold| hold.lease.window().key().meter == *meter);
            let quota = self
                .account
                .quotas
                .iter()
                .find(|(quota, _)| quota.meter == *meter);
            if let Some((quota, counter)) = quota.filter(|_| !is_held) {
                // The operation did not name this meter, so nothing was looked at or taken. It is counted all the same.
                let lease = open(&self.account, quota, counter, self.arrived);
                lease.window().note_taken(*units);
                charges.push(self.charged(&lease, quota.limit, *units, false));
            }
        }
        charges
    }

    fn settle_hold(&self, hold: &Hold, units: Units, ticks: u64, charges: &mut SmallVec<[Charged; 1]>) {
        hold.put_back(hold.units.minus(units));
        let window = hold.lease.window();
        let more = units.minus(hold.units);
        let is_more_leased =
            hold.limit.is_some() && !more.is_zero() && window.take(more, ticks) != Take::Short;
        if !is_more_leased {
            // Served already, so it counts. It did not come out of the lease, and must not be taken out of what is leased.
            window.note_taken(more);
        }
        let (mut leased, mut unleased) = (Units::ZERO, Units::ZERO);
        for (part, is_leased) in [(units.min(hold.units), hold.leased), (more, is_more_leased)] {
            let sum = if is_leased { &mut leased } else { &mut unleased };
            *sum = sum.plus(part);
        }
        for (units, is_leased) in [(leased, true), (unleased, false)] {
            if !units.is_zero() {
                charges.push(self.charged(&hold.lease, hold.limit, units, is_leased));
            }
        }
    }

    /// A charge, which counts from now on.
    fn charged(&self, lease: &Arc<Lease>, limit: Option<Units>, units: Units, leased: bool) -> Charged {
        lease.window().note_charged(units);
        Charged {
            lease: Arc::clone(lease),
            plan: self.account.plan.id.clone(),
            limit,
            units,
            leased,
        }
    }

    fn final_status(&self, outcome: Outcome) -> u16 {
        let unanswered = match outcome {
            Outcome::ClientGone => CLIENT_GONE,
            Outcome::NotReached | Outcome::TimedOut => StatusCode::SERVICE_UNAVAILABLE.as_u16(),
            Outcome::Completed
            | Outcome::Refused
            | Outcome::BodyError
            | Outcome::ServiceError
            | Outcome::Panicked => StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
        };
        self.status.map_or(unanswered, |status| status.as_u16())
    }
}

/// What is charged: requests that reached the handler and did not fail on our side. A client that leaves early has
/// made us work all the same.
const fn is_charged(outcome: Outcome, status: u16) -> bool {
    match outcome {
        Outcome::Completed | Outcome::ClientGone => status < 500,
        Outcome::Refused
        | Outcome::BodyError
        | Outcome::ServiceError
        | Outcome::Panicked
        | Outcome::TimedOut
        | Outcome::NotReached => false,
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
