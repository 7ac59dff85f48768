//! Callers and accounts in memory. Reading takes no lock; filling and forgetting may.

mod caller;
mod changes;
mod eviction;
mod fingerprint;
mod indexes;
mod replaced;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

pub(crate) use caller::Caller;
pub(crate) use changes::Moment;
pub(crate) use fingerprint::{Fingerprint, Fingerprints};

use super::account::Account;
use super::report::Shapes;
use super::terms::TermsBook;
use crate::index::{Hand, Index};
use crate::keys::{ChangeSubject, InvalidKey, Verified};
use crate::plan::Plan;
use crate::quota::{Lease, LeaseBook, Users, nanos};
use crate::sync::{AtomicU64, Mutex, MutexGuard};
use changes::Changes;
use fingerprint::FingerprintMap;
use indexes::{AccountsById, CallersByFingerprint, CallersByKey};
use replaced::Replaced;

/// What memory says of a key.
pub(crate) enum Known {
    /// Accepted.
    Caller(Arc<Caller>),
    /// Not accepted, a moment ago.
    Invalid(InvalidKey),
    /// Nothing, or nothing that may still be believed.
    Nothing,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) callers: usize,
    pub(crate) callers_bytes: usize,
    pub(crate) invalid: usize,
    pub(crate) staleness: Duration,
}

/// All callers and accounts.
pub(crate) struct Directory {
    bounds: Bounds,
    callers: Index<CallersByFingerprint>,
    /// The last one kept of each key.
    by_key: Index<CallersByKey>,
    accounts: Index<AccountsById>,
    invalid: FingerprintMap<(InvalidKey, Duration)>,
    /// When the feed was last read whole, on the monotonic clock in nanoseconds; zero for never.
    synced_at: AtomicU64,
    cold: Mutex<Cold>,
}

/// Held by whoever changes anything.
struct Cold {
    terms: TermsBook,
    /// What the callers take of memory.
    bytes: usize,
    /// Which caller is looked at next for eviction.
    hand: Hand,
    /// Which account is looked at next, whether anybody has it.
    account_hand: Hand,
    replaced: Replaced,
    invalid_order: VecDeque<Fingerprint>,
    changes: Changes,
}

impl Directory {
    pub(crate) fn new(bounds: Bounds, shapes: Arc<Shapes>) -> Self {
        Self {
            bounds,
            callers: Index::default(),
            by_key: Index::default(),
            accounts: Index::default(),
            invalid: FingerprintMap::default(),
            synced_at: AtomicU64::new(0),
            cold: Mutex::new(Cold {
                terms: TermsBook::new(shapes),
                bytes: 0,
                hand: Hand::default(),
                account_hand: Hand::default(),
                replaced: Replaced::default(),
                invalid_order: VecDeque::new(),
                changes: Changes::default(),
            }),
        }
    }

    fn cold(&self) -> MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something asked for at `asked_at` may still be believed: the feed was read since a bounded time ago, or
    /// it is itself that young.
    fn is_believed(&self, asked_at: Duration, now: Duration) -> bool {
        self.is_younger(asked_at, now, self.bounds.staleness)
    }

    fn is_younger(&self, asked_at: Duration, now: Duration, bound: Duration) -> bool {
        let synced_at = Duration::from_nanos(self.synced_at.load(Ordering::Acquire));
        now.saturating_sub(asked_at.max(synced_at)) < bound
    }

    pub(crate) fn look_up(&self, fingerprint: Fingerprint, now: Duration) -> Known {
        if let Some(caller) = self.callers.get(&fingerprint)
            && !caller.is_stale()
            && self.is_believed(caller.asked_at(), now)
            && self.is_believed(caller.account.asked_at(), now)
        {
            if !caller.used.load(Ordering::Relaxed) {
                caller.used.store(true, Ordering::Relaxed);
            }
            return Known::Caller(caller);
        }
        match self.invalid.pin().get(&fingerprint) {
            // A "no" is not renewed by the feed: it names keys, and an unknown key has no name.
            Some((reason, until)) if now < *until => Known::Invalid(*reason),
            _ => Known::Nothing,
        }
    }

    /// A caller that nobody can be asked about and that may be believed for `at_most` beyond the bound. Never one that is
    /// known to have changed.
    pub(crate) fn look_up_older(
        &self,
        fingerprint: Fingerprint,
        now: Duration,
        at_most: Duration,
    ) -> Option<Arc<Caller>> {
        let bound = self.bounds.staleness.saturating_add(at_most);
        let caller = self.callers.get(&fingerprint).filter(|caller| {
            !caller.is_stale()
                && self.is_younger(caller.asked_at(), now, bound)
                && self.is_younger(caller.account.asked_at(), now, bound)
        })?;
        caller.used.store(true, Ordering::Relaxed);
        Some(caller)
    }

    /// Notes that nobody could answer about a key at `now`.
    pub(crate) fn note_unanswered(&self, fingerprint: Fingerprint, now: Duration) {
        if let Some(caller) = self.callers.get(&fingerprint) {
            caller.note_unanswered(now);
        }
    }

    /// Whether it was a caller's, even if what is kept of it may not be believed any more.
    pub(crate) fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.callers.get(&fingerprint).is_some()
    }

    /// The moment before a verifier is asked.
    pub(crate) fn moment(&self) -> Moment {
        self.cold().changes.moment()
    }

    /// Keeps a caller, with what the plan source said of its account. None when the key or the account changed after
    /// `since`, when the verifier was about to be asked.
    pub(crate) fn keep(
        &self,
        fingerprint: Fingerprint,
        verified: &Verified,
        plan: Arc<Plan>,
        book: Option<&LeaseBook>,
        asked: (Moment, Duration),
    ) -> Option<Arc<Caller>> {
        let (since, asked_at) = asked;
        let mut cold = self.cold();
        if cold.changes.outdate(verified, since) {
            return None;
        }
        let account = self.keep_account(&mut cold, verified, plan, book, asked_at);
        let before = self.callers.get(&fingerprint);
        let caller = Caller::new(fingerprint, verified, account, nanos(asked_at), before.as_deref());
        let caller = Arc::new(caller);
        self.make_room(&mut cold, &caller, before.as_ref());
        if let Some(before) = before {
            self.take_over(&mut cold, &before, &caller);
        }
        cold.bytes += caller.bytes();
        self.by_key.insert(Arc::clone(&caller));
        self.callers.insert(Arc::clone(&caller));
        Some(caller)
    }

    /// The one entry of an account, which all of its callers share. Called with the lock held.
    fn keep_account(
        &self,
        cold: &mut Cold,
        verified: &Verified,
        plan: Arc<Plan>,
        book: Option<&LeaseBook>,
        asked_at: Duration,
    ) -> Arc<Account> {
        let (id, anchor) = (verified.principal.account(), verified.principal.anchor());
        let before = self.accounts.get(&id);
        let account = match before {
            Some(before) if !before.is_stale() && before.is_same(&plan, anchor) => before,
            before => {
                let terms = cold.terms.get(plan, book);
                let account = Arc::new(Account::new(id, terms, anchor, before.as_ref()));
                self.accounts.insert(Arc::clone(&account));
                if let Some(before) = before {
                    // Its other callers have to learn of the change too.
                    before.set_stale();
                    before.close_counters();
                    cold.replaced.note(&before);
                }
                account
            }
        };
        account.note_asked(asked_at);
        account
    }

    /// Remembers a "no" for a moment. What was known of the key before is not believed any more.
    pub(crate) fn keep_invalid(&self, fingerprint: Fingerprint, reason: InvalidKey, until: Duration) {
        let mut cold = self.cold();
        if let Some(caller) = self.callers.get(&fingerprint) {
            caller.stale.store(true, Ordering::Release);
        }
        if self.invalid.pin().insert(fingerprint, (reason, until)).is_none() {
            cold.invalid_order.push_back(fingerprint);
        }
        while cold.invalid_order.len() > self.bounds.invalid {
            if let Some(oldest) = cold.invalid_order.pop_front() {
                self.invalid.pin().remove(&oldest);
            }
        }
    }

    /// Something changed: what is kept of it is not believed any more.
    pub(crate) fn apply(&self, change: ChangeSubject) {
        let mut cold = self.cold();
        match change {
            ChangeSubject::Key { key, .. } => {
                if let Some(caller) = self.by_key.get(&key) {
                    caller.stale.store(true, Ordering::Release);
                }
            }
            ChangeSubject::Account(id) => {
                if let Some(account) = self.accounts.get(&id) {
                    account.set_stale();
                }
            }
        }
        self.invalid.pin().clear();
        cold.invalid_order.clear();
        cold.changes.push(change);
    }

    /// The feed may have missed something: nothing that is kept is believed any more.
    pub(crate) fn apply_unknown(&self) {
        let mut cold = self.cold();
        self.callers
            .for_each(|caller| caller.stale.store(true, Ordering::Release));
        self.invalid.pin().clear();
        cold.invalid_order.clear();
        cold.changes.push_unknown();
    }

    /// The feed was read whole by a call that began at `at`.
    pub(crate) fn set_synced(&self, at: Duration) {
        self.synced_at.fetch_max(nanos(at), Ordering::AcqRel);
    }

    /// How long ago the feed was last read whole; none if it never was.
    pub(crate) fn lag(&self, now: Duration) -> Option<Duration> {
        let synced_at = self.synced_at.load(Ordering::Acquire);
        (synced_at != 0).then(|| now.saturating_sub(Duration::from_nanos(synced_at)))
    }

    /// How many callers are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.callers.len()
    }

    /// What they take of memory, about.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.cold().bytes
    }
}

impl Users for Directory {
    fn let_go(&self, lease: &Arc<Lease>) {
        let window = lease.window();
        if let Some(key) = window.key_id() {
            if let Some(own) = self
                .by_key
                .get(&key)
                .as_ref()
                .and_then(|caller| caller.own_quotas())
            {
                own.let_go(lease);
            }
        } else if let Some(account) = self.accounts.get(&window.account()) {
            account.let_go(lease);
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
