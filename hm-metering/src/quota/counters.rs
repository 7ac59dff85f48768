//! The counters of a process, by account and meter.

use std::sync::{Arc, Weak};

use super::{Counter, CounterId, Looks};
use std::hash::RandomState;

use crate::index::{Index, Lookup};

/// From this many counters on, those that nobody has any more are looked for.
const SWEEP_FROM: usize = 1_024;

/// The counters of a process. Accounts in memory have theirs, and so do the [`Looks`] as long as there are windows; what
/// nobody has any more is forgotten before it is as much again.
pub(super) struct Counters {
    kept: Index<ById>,
    looks: Weak<Looks>,
    sweep_at: usize,
}

impl Counters {
    pub(super) fn new(looks: Weak<Looks>) -> Self {
        Self {
            kept: Index::default(),
            looks,
            sweep_at: SWEEP_FROM,
        }
    }

    pub(super) fn get(&self, id: &CounterId) -> Option<Arc<Counter>> {
        self.kept.get(id)
    }

    /// The counter, made if need be.
    pub(super) fn get_or_insert(&mut self, id: CounterId) -> Arc<Counter> {
        if let Some(counter) = self.kept.get(&id) {
            return counter;
        }
        if self.kept.len() >= self.sweep_at {
            // Nobody can get hold of a counter meanwhile but from somebody who has it.
            self.kept.retain(|counter| Arc::strong_count(counter) > 2);
            self.sweep_at = (self.kept.len() * 2).max(SWEEP_FROM);
        }
        let counter = Arc::new(Counter::new(id, Weak::clone(&self.looks)));
        self.kept.insert(Arc::clone(&counter));
        counter
    }

    pub(super) fn all(&self) -> Vec<Arc<Counter>> {
        let mut all = Vec::with_capacity(self.kept.len());
        self.kept.for_each(|counter| all.push(Arc::clone(counter)));
        all
    }
}

struct ById;

impl Lookup for ById {
    type Value = Counter;
    type Key = CounterId;
    type Hasher = RandomState;

    fn key(counter: &Counter) -> Option<&CounterId> {
        Some(counter.id())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::id::AccountId;
    use crate::name::MeterName;

    fn id(number: u128) -> CounterId {
        CounterId {
            account: AccountId::from_uuid(Uuid::from_u128(number)),
            meter: MeterName::REQUESTS,
        }
    }

    #[test]
    fn what_nobody_has_any_more_is_forgotten_and_the_rest_stays() {
        let mut counters = Counters::new(Weak::new());
        let held: Vec<_> = (0..10).map(|number| counters.get_or_insert(id(number))).collect();
        for number in 10..20_000 {
            counters.get_or_insert(id(number));
            assert!(counters.kept.len() <= SWEEP_FROM);
        }
        for (number, held) in held.iter().enumerate() {
            assert!(Arc::ptr_eq(held, &counters.get_or_insert(id(number as u128))));
        }
    }
}
