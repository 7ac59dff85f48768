//! The leases of a process: by account or key, meter and period, and those that are looked after.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::{Lease, Looks, Owner};
use crate::index::{Index, Lookup};
use crate::name::MeterName;
use crate::period::Period;
use crate::time::Timestamp;

/// The leases of a process. There is one for one counter and period start, as in the store, wherever the period ends. Accounts and keys
/// in memory have theirs,
/// and so do requests under way. Each is among the [`Looks`], or with somebody who looks after it, until it is forgotten.
#[derive(Default)]
pub(crate) struct Leases {
    kept: Index<ByCounter>,
    pub(super) looks: Looks,
}

/// Where accounts and keys have the leases that they use.
pub(crate) trait Users: Send + Sync + 'static {
    /// Takes a lease from its account or key, so that whoever wants to use it asks for it anew.
    fn let_go(&self, lease: &Arc<Lease>);
}

/// Which lease: that of an account's or a key's meter, in the period that starts then.
#[derive(Hash)]
struct CounterKey<'a> {
    owner: Owner,
    meter: &'a MeterName,
    start: Timestamp,
}

struct ByCounter;

impl Lookup for ByCounter {
    type Value = Lease;
    type Key<'a> = CounterKey<'a>;
    type Hasher = RandomState;

    fn key(lease: &Lease) -> Option<CounterKey<'_>> {
        let window = lease.window();
        Some(CounterKey {
            owner: window.owner(),
            meter: window.meter(),
            start: window.start(),
        })
    }

    fn has_key(lease: &Lease, key: &CounterKey<'_>) -> bool {
        let window = lease.window();
        window.account() == key.owner.account
            && window.start() == key.start
            && *window.meter() == *key.meter
            && window.key_id() == key.owner.key
    }
}

impl Leases {
    /// The lease of that period, made if need be. It is looked after from then on, until it is forgotten.
    pub(super) fn open(&self, owner: Owner, meter: &Arc<MeterName>, period: Period) -> Arc<Lease> {
        let key = CounterKey {
            owner,
            meter,
            start: period.start,
        };
        let mut is_new = false;
        let lease = self.kept.get_or_insert(&key, || {
            is_new = true;
            Lease::new(owner, Arc::clone(meter), period)
        });
        if is_new {
            self.looks.add(Arc::clone(&lease), 0);
        }
        lease
    }

    /// The lease of the period that starts then, if there is one.
    pub(super) fn get(&self, owner: Owner, meter: &MeterName, start: Timestamp) -> Option<Arc<Lease>> {
        let key = CounterKey { owner, meter, start };
        self.kept.get_exactly(&key)
    }

    /// Forgets a lease that nobody but the caller has, and that has nothing left to be done. Answers whether it did.
    #[must_use]
    pub(super) fn forget(&self, lease: &Arc<Lease>, now: Timestamp) -> bool {
        let key = ByCounter::key(lease);
        let forgotten = key.and_then(|key| {
            self.kept.remove_if(&key, |has| {
                // The handles are the index's, the one it shows, and the caller's.
                Arc::strong_count(has) <= 3 && is_done(has, now)
            })
        });
        forgotten.is_some()
    }

    pub(super) fn all(&self) -> Vec<Arc<Lease>> {
        let mut all = Vec::with_capacity(self.kept.len());
        self.kept.for_each(|lease| all.push(Arc::clone(lease)));
        all
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

/// Whether nobody has anything to do with a lease any more, as long as nobody can get it.
fn is_done(lease: &Lease, now: Timestamp) -> bool {
    // What the last one who had it did before, such as putting units back, is seen from here on.
    fence(Ordering::Acquire);
    let is_over = lease.window.period().end <= now;
    lease.is_empty() && (is_over || !lease.window.has_spent_allowance())
}
