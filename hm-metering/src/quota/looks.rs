//! Which counters have to be looked after, and when next.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::Counter;
use crate::sync::{Mutex, MutexGuard};

/// Moments within the same so many nanoseconds are one, so that there are few of them.
const GRAIN: u64 = 1_000_000_000;

/// The counters that have windows, each once, by the moment from which on they are to be looked after. Counters without
/// windows are not here, so that looking after all of these costs nothing for accounts that are not in use.
#[derive(Default)]
pub(crate) struct Looks(Mutex<BTreeMap<u64, Vec<Arc<Counter>>>>);

impl Looks {
    fn looks(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Arc<Counter>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a counter that is not here, to be looked after at `at` or a little earlier.
    pub(super) fn add(&self, counter: Arc<Counter>, at: u64) {
        self.looks().entry(at / GRAIN * GRAIN).or_default().push(counter);
    }

    /// Takes those that are due at `now` out. Whoever does adds those that still have windows again.
    pub(super) fn take_due(&self, now: u64) -> Vec<Arc<Counter>> {
        let mut looks = self.looks();
        let later = looks.split_off(&now.saturating_add(1));
        let due = std::mem::replace(&mut *looks, later);
        drop(looks);
        due.into_values().flatten().collect()
    }

    /// How many are here.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.looks().values().map(Vec::len).sum()
    }
}
