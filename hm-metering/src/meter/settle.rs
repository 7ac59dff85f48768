//! Making what was taken for a request equal to what it is charged, counter by counter.

use smallvec::SmallVec;

use super::admitted::{Admitted, Charged};
use super::hold::Hold;
use crate::charge_rule::Overrun;
use crate::name::MeterName;
use crate::quota::Lease;
use crate::units::Units;
use crate::usage::journal::record::Charge;

/// What a request is charged, counter by counter.
pub(super) struct Settled {
    pub(super) charges: SmallVec<[Charge; 2]>,
    /// Whether it is beyond a limit.
    pub(super) over: bool,
}

/// Makes what was taken for a request equal to what it is charged.
struct Settling<'a> {
    admitted: &'a Admitted,
    ticks: u64,
    settled: Settled,
}

/// Charges a request of whose charge nothing was said, if what was taken for it is all that it is charged. As a rule it is.
pub(super) fn as_taken(admitted: &Admitted) -> Option<Charge> {
    let ([(meter, asked)], [hold]) = (admitted.request.operation.costs(), &admitted.holds[..]) else {
        return None;
    };
    hold.took(meter, *asked)
        .then(|| charge(0, &hold.lease, hold.limit, *asked, true))
}

/// `units` become what is charged; meters with nothing charged are left out. `extra` was leased besides what is held, hold by
/// hold.
pub(super) fn settle(admitted: &Admitted, ticks: u64, units: &mut Charged, extra: &[Units]) -> Settled {
    let mut settling = Settling {
        admitted,
        ticks,
        settled: Settled {
            charges: SmallVec::new(),
            over: false,
        },
    };
    settling.settle(units, extra);
    settling.settled
}

impl Settling<'_> {
    fn settle(&mut self, units: &mut Charged, extra: &[Units]) {
        let holds = &self.admitted.holds;
        let mut parts: SmallVec<[Parts; 2]> = SmallVec::new();
        for (place, hold) in holds.iter().enumerate() {
            let extra = extra.get(place).copied().unwrap_or_default();
            let entry = units.iter_mut().find(|(has, _)| has == hold.meter());
            let asked = entry.as_ref().map_or(Units::ZERO, |(_, units)| *units);
            let charged = self.bring_to(hold, extra, asked);
            if let Some(entry) = entry {
                entry.1 = charged.total();
            }
            parts.push(charged);
        }
        // A meter counts against the account's quota and one of the key's own. What the one had no room for does not count against
        // the other either.
        for (hold, charged) in holds.iter().zip(&mut parts) {
            let of_meter = units.iter().find(|(has, _)| has == hold.meter());
            charged.lower_to(of_meter.map_or(Units::ZERO, |(_, units)| *units), hold);
        }
        units.retain(|(_, units)| !units.is_zero());
        let place_of = |meter: &MeterName| units.iter().position(|(has, _)| has == meter);
        for (hold, charged) in holds.iter().zip(parts) {
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
        if !self.admitted.said.is_stopped() {
            let (taken, _) = window.take_some(more, self.ticks);
            parts.leased = parts.leased.plus(taken);
            rest = rest.minus(taken);
        }
        if !rest.is_zero()
            && (hold.never_refuses() || self.admitted.request.operation.on_overrun() == Overrun::Overflow)
        {
            // Served already, so it counts. It did not come out of the lease, and must not be taken out of what is leased.
            window.note_taken(rest);
            if hold.is_of_allowance() {
                window.note_allowance(rest);
            }
            parts.unleased = parts.unleased.plus(rest);
            self.settled.over |= window.taken_by_all() > limit || !window.may_have_more(limit, self.ticks);
        }
        parts
    }

    /// Charges a meter that the operation did not name, so nothing was looked at or taken. It is counted all the same.
    fn charge_unheld(&mut self, at: usize, meter: &MeterName, units: Units) {
        let (account, arrived) = (self.admitted.account(), self.admitted.request.arrived.wall);
        let of_account = account.quotas().find(|(quota, _)| quota.meter == *meter);
        let of_key = self
            .admitted
            .caller
            .own_quotas()
            .and_then(|own| own.of_meter(meter));
        let leases = [
            of_account.map(|(quota, counter)| (quota, counter.open(arrived))),
            of_key.map(|(quota, counter)| (quota, counter.open(account, arrived))),
        ];
        for (quota, lease) in leases.into_iter().flatten() {
            lease.window().note_taken(units);
            let taken = lease.window().taken_by_all();
            self.settled.over |= quota.limit.is_some_and(|limit| taken > limit);
            self.write(at, &lease, quota.limit, units, false);
        }
    }

    /// A charge, which counts from now on.
    fn write(&mut self, at: usize, lease: &Lease, limit: Option<Units>, units: Units, leased: bool) {
        if units.is_zero() {
            return;
        }
        self.settled.charges.push(charge(at, lease, limit, units, leased));
        if !leased && limit.is_some() {
            lease.window().note_debt(units);
        }
    }
}

/// A charge of `units`, which count from now on, on the meter `at` this place of the event's.
fn charge(at: usize, lease: &Lease, limit: Option<Units>, units: Units, leased: bool) -> Charge {
    lease.window().note_charged(units);
    Charge {
        meter: u8::try_from(at).unwrap_or(u8::MAX),
        of_key: lease.window().key_id().is_some(),
        period: lease.window().period(),
        limit,
        lease: leased.then(|| lease.token()).flatten(),
        units,
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

    const fn total(self) -> Units {
        self.leased.plus(self.unleased)
    }

    /// Gives back what is more than `most`, first of what is beyond the lease.
    fn lower_to(&mut self, most: Units, hold: &Hold) {
        let too_much = self.total().minus(most);
        if too_much.is_zero() {
            return;
        }
        let window = hold.lease.window();
        let beyond = too_much.min(self.unleased);
        window.unnote_taken(beyond);
        if hold.is_of_allowance() {
            window.put_back_allowance(beyond);
        }
        self.unleased = self.unleased.minus(beyond);
        let of_lease = too_much.minus(beyond);
        window.put_back(of_lease);
        self.leased = self.leased.minus(of_lease);
    }
}
