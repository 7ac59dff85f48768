//! Stores in memory: for tests, and for a single process that may forget everything when it ends.
//!
//! [`MemoryStore`] is keys, quotas and usage in one, and applies a batch's settlements in the same step as its events.
//! [`MemoryRateLimiter`] keeps rate limits.
//!
//! ```
//! # use hm_metering::{AccountId, PlanId, Timestamp, memory::MemoryStore};
//! # let account = AccountId::from_uuid(uuid::Uuid::from_u128(1));
//! let store = MemoryStore::new();
//! store.add_account(account, PlanId::from_static("free"), Timestamp::default());
//! assert!(store.clone().set_plan(account, PlanId::from_static("pro")));
//! ```

mod batches;
mod cursor;
mod digest;
mod keys;
mod quota;
mod rate;
mod usage;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use rate::MemoryRateLimiter;

use crate::id::AccountId;
use crate::name::PlanId;
use crate::quota::StoreIdentity;
use crate::time::Timestamp;

/// Keys, quotas and usage in the memory of this process. Clones share everything.
///
/// It keeps every promise of [`KeyStore`](crate::keys::KeyStore), [`QuotaStore`](crate::quota::QuotaStore) and
/// [`UsageStore`](crate::usage::UsageStore), but only for as long as the process lives. Beyond the traits:
///
/// * Recording a batch applies its settlements, and adds to the use counts and times of last use of the keys it
///   knows (one use for each event that reached the handler), all in one step. Who records events need not call
///   [`mark_used`](crate::keys::KeyStore::mark_used).
/// * It keeps the newest events, as many as its capacity says, and forgets older ones as if they had been pruned:
///   the sums over a range shrink with the events that are listed. An event's id is known for as long as the event.
///   Quota counters stay for ever, and the last [`MemoryStore::MAX_BATCHES`] batches are known, so that one that is
///   sent again counts once even when its events are gone.
/// * It keeps the newest [`MemoryStore::MAX_CHANGES`] changes of its feed.
///
/// One lock guards all of it. It is held for the length of a map operation and never while anything waits.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    identity: StoreIdentity,
}

#[derive(Default)]
struct State {
    keys: keys::Keys,
    quota: quota::Counters,
    usage: usage::Ledger,
}

impl MemoryStore {
    /// How many events are kept unless said otherwise.
    pub const EVENT_CAPACITY: usize = 100_000;

    /// How many batches are known.
    pub const MAX_BATCHES: usize = 100_000;

    /// How many changes of keys and accounts the feed keeps.
    pub const MAX_CHANGES: usize = 100_000;

    /// An empty store that shares nothing with any other.
    #[must_use]
    pub fn new() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        Self {
            state: Arc::default(),
            identity: StoreIdentity(uuid::Uuid::from_u64_pair(
                u64::from_be_bytes(*b"hmmemory"),
                number,
            )),
        }
    }

    /// Keeps the newest `events` events (at least one). It holds for all clones.
    #[must_use]
    pub fn with_event_capacity(self, events: usize) -> Self {
        self.lock().usage.set_capacity(events);
        self
    }

    /// Adds an open account on `plan` that began at `anchor`. Answers whether it is new; one that is there already
    /// stays as it is.
    pub fn add_account(&self, account: AccountId, plan: PlanId, anchor: Timestamp) -> bool {
        self.lock().keys.add_account(account, plan, anchor)
    }

    /// Moves an account to another plan at once, takes back a move that was scheduled, and puts that in the feed. False
    /// when there is no such account.
    pub fn set_plan(&self, account: AccountId, plan: PlanId) -> bool {
        self.lock().keys.set_plan(account, plan)
    }

    /// Moves an account to another plan at `at`, in place of a move that was scheduled and has not taken effect by `now`,
    /// and puts that in the feed. False when there is no such account.
    pub fn schedule_plan(&self, account: AccountId, plan: PlanId, at: Timestamp, now: Timestamp) -> bool {
        self.lock().keys.schedule_plan(account, plan, at, now)
    }

    /// Closes an account, so that its keys are no longer valid, and puts that in the feed. False when there is no
    /// such account.
    pub fn close_account(&self, account: AccountId) -> bool {
        self.lock().keys.close_account(account)
    }

    /// The events of all accounts, oldest first.
    #[cfg(feature = "testing")]
    pub(crate) fn events(&self) -> Vec<crate::usage::Event> {
        self.lock().usage.all().cloned().collect()
    }

    /// What is leased at this moment, as far as it is anything.
    #[cfg(feature = "testing")]
    pub(crate) fn leased(&self) -> Vec<(crate::name::MeterName, crate::units::Units)> {
        self.lock().quota.leased()
    }

    /// No step leaves the state half changed, so a lock that was poisoned by a panic elsewhere is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{QuotaStore, UsageSink};

    #[test]
    fn clones_are_one_store_and_others_are_not() {
        let store = MemoryStore::new();
        assert_eq!(store.identity(), store.clone().settled_by());
        assert_ne!(store.identity(), MemoryStore::new().identity());
    }
}
