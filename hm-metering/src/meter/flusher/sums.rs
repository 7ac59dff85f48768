//! What a batch charges, summed up.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::part::End;
use crate::id::AccountId;
use crate::quota::{FencingToken, QuotaKey, Settlement};
use crate::time::Timestamp;
use crate::usage::Event;
use crate::usage::journal::record::Charge;

/// The charges of several requests, summed up by counter, lease, plan and limit; in the order of the counters.
pub(super) fn settlements(events: &[Event], ends: &[End]) -> Vec<Settlement> {
    let mut sums = Sums::default();
    for (event, end) in events.iter().zip(ends) {
        for charge in &end.charges {
            sums.add(event, end, charge);
        }
    }
    sums.done()
}

/// What most charges differ by.
type Place = (AccountId, Timestamp, Option<FencingToken>);

#[derive(Default)]
struct Sums {
    sums: Vec<Settlement>,
    /// Which of the sums differ in the rest only.
    places: HashMap<Place, SmallVec<[usize; 2]>>,
    /// Where the last charge went. Requests of one account often follow each other.
    last: usize,
}

impl Sums {
    fn add(&mut self, event: &Event, end: &End, charge: &Charge) {
        let (Some((meter, _)), Some(plan)) = (event.units.get(usize::from(charge.meter)), &end.plan) else {
            return;
        };
        let key = event.key.filter(|_| charge.of_key);
        let is_of = |sum: &Settlement| {
            sum.key.account == event.account
                && sum.key.key == key
                && sum.lease == charge.lease
                && sum.limit == charge.limit
                && sum.key.period == charge.period
                && sum.key.meter == *meter
                && sum.plan == *plan
        };
        if let Some(sum) = self.sums.get_mut(self.last).filter(|sum| is_of(sum)) {
            sum.units = sum.units.plus(charge.units);
            return;
        }
        let alike = self
            .places
            .entry((event.account, charge.period.start, charge.lease))
            .or_default();
        let found = alike
            .iter()
            .copied()
            .find(|place| self.sums.get(*place).is_some_and(is_of));
        self.last = found.unwrap_or(self.sums.len());
        if let Some(sum) = self.sums.get_mut(self.last) {
            sum.units = sum.units.plus(charge.units);
            return;
        }
        alike.push(self.last);
        self.sums.push(Settlement {
            key: QuotaKey {
                account: event.account,
                key,
                meter: meter.clone(),
                period: charge.period,
            },
            plan: plan.clone(),
            limit: charge.limit,
            lease: charge.lease,
            units: charge.units,
        });
    }

    fn done(mut self) -> Vec<Settlement> {
        self.sums.sort_by(|one, other| {
            let order = (&one.key, one.lease, &one.plan, one.limit);
            order.cmp(&(&other.key, other.lease, &other.plan, other.limit))
        });
        self.sums
    }
}
