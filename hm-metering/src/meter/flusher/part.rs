//! What goes into one batch, and how it is divided if the sink does not take it.

use std::collections::HashMap;

use crate::name::PlanId;
use crate::quota::{FencingToken, QuotaKey, Settlement};
use crate::units::Units;
use crate::usage::Event;
use crate::usage::journal::record::Record;
use crate::usage::journal::{Position, Sent};

/// Records on their way into one batch.
pub(super) struct Part {
    pub(super) entries: Vec<Entry>,
    pub(super) epoch: u64,
    /// The batch that an earlier run sent, if it is that one.
    pub(super) resent: Option<Sent>,
}

pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) end: Position,
    /// How many records of this run lie between the entry before and here.
    pub(super) records: u64,
}

/// What is left of an entry while its event is in a batch.
pub(super) type End = (Charges, Position, u64);
type Charges = smallvec::SmallVec<[Settlement; 1]>;

impl Part {
    pub(super) fn again(events: Vec<Event>, ends: Vec<End>, epoch: u64) -> Self {
        let entry = |(event, (settlements, end, records))| Entry {
            record: Record { event, settlements },
            end,
            records,
        };
        Self {
            entries: events.into_iter().zip(ends).map(entry).collect(),
            epoch,
            resent: None,
        }
    }

    /// In the order in which a stack gives them back.
    pub(super) fn halves(mut self) -> [Self; 2] {
        let second = Self {
            entries: self.entries.split_off(self.entries.len() / 2),
            epoch: self.epoch,
            resent: None,
        };
        [second, self]
    }
}

/// The charges of several requests, summed up by counter, lease, plan and limit; in the order of the counters.
pub(super) fn settlements<'a>(charges: impl Iterator<Item = &'a Settlement>) -> Vec<Settlement> {
    type Key<'a> = (&'a QuotaKey, Option<FencingToken>, &'a PlanId, Option<Units>);
    let mut sums: HashMap<Key<'_>, Units> = HashMap::new();
    for charge in charges {
        let key = (&charge.key, charge.lease, &charge.plan, charge.limit);
        let sum = sums.entry(key).or_default();
        *sum = sum.plus(charge.units);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort();
    let settlement = |((key, lease, plan, limit), units): (Key<'_>, Units)| Settlement {
        key: key.clone(),
        plan: plan.clone(),
        limit,
        lease,
        units,
    };
    sums.into_iter().map(settlement).collect()
}
