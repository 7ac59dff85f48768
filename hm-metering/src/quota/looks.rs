//! Which leases have to be looked after, and when next.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::Lease;
use crate::sync::{Mutex, MutexGuard};

/// Moments within the same so many nanoseconds are one, so that there are few of them.
const GRAIN: u64 = 1_000_000_000;

/// The leases, each once, by the moment from which on they are to be looked after. Looking after them costs as much as there
/// are that are due.
#[derive(Default)]
pub(crate) struct Looks(Mutex<BTreeMap<u64, Vec<Arc<Lease>>>>);

impl Looks {
    fn looks(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Arc<Lease>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a lease that is not here, to be looked after at `at` or a little earlier.
    pub(super) fn add(&self, lease: Arc<Lease>, at: u64) {
        self.looks().entry(at / GRAIN * GRAIN).or_default().push(lease);
    }

    /// Takes those that are due at `now` out. Whoever does forgets them or adds them again.
    pub(super) fn take_due(&self, now: u64) -> Vec<Arc<Lease>> {
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
