//! Callers and accounts in memory. Reading takes no lock; filling and forgetting may.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::account::Account;
use crate::id::{AccountId, KeyId};
use crate::keys::{ChangeSubject, InvalidKey, Verified};
use crate::principal::Principal;
use crate::time::Timestamp;

/// How many changes are remembered for fills that were under way when they came.
const CHANGES: usize = 1_024;

/// A key's place in memory: a keyed hash under a secret of this process, so that no key is kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u128);

/// Makes fingerprints.
pub(crate) struct Fingerprints([u8; 16]);

impl Fingerprints {
    pub(crate) fn from_os() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret)?;
        Ok(Self(secret))
    }

    pub(crate) fn of(&self, key: &str) -> Fingerprint {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(key.as_bytes());
        Fingerprint(hasher.finish128().as_u128())
    }
}

/// An accepted key.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) account: Arc<Account>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    /// When the verdict was asked for, on the monotonic clock.
    asked_at: Duration,
    /// Whether it was used since the last look, for eviction.
    used: AtomicBool,
    /// Set when the key changed.
    stale: AtomicBool,
}

impl Caller {
    pub(crate) fn new(verified: Verified, account: Arc<Account>, asked_at: Duration) -> Self {
        Self {
            principal: verified.principal,
            account,
            not_before: verified.not_before,
            expires_at: verified.expires_at,
            asked_at,
            used: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        }
    }

    /// Why the key is not accepted at `now` although its verdict was good.
    pub(crate) fn check_dates(&self, now: Timestamp) -> Result<(), InvalidKey> {
        if self.expires_at.is_some_and(|end| end <= now) {
            Err(InvalidKey::Expired)
        } else if self.not_before.is_some_and(|start| now < start) {
            Err(InvalidKey::NotYetValid)
        } else {
            Ok(())
        }
    }
}

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
    pub(crate) invalid: usize,
    pub(crate) staleness: Duration,
}

/// All callers and accounts.
pub(crate) struct Directory {
    bounds: Bounds,
    callers: papaya::HashMap<Fingerprint, Arc<Caller>>,
    by_key: papaya::HashMap<KeyId, Fingerprint>,
    accounts: papaya::HashMap<AccountId, Arc<Account>>,
    invalid: papaya::HashMap<Fingerprint, (InvalidKey, Duration)>,
    /// When the feed was last read whole, on the monotonic clock in nanoseconds; zero for never.
    synced_at: AtomicU64,
    cold: Mutex<Cold>,
}

#[derive(Default)]
struct Cold {
    /// Callers in the order in which they are looked at for eviction.
    order: VecDeque<Fingerprint>,
    invalid_order: VecDeque<Fingerprint>,
    /// The last changes, with a rising number each.
    changes: VecDeque<ChangeSubject>,
    changes_seen: u64,
}

/// A moment in the sequence of changes: what is filled from an answer asked for at a moment must not have changed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

impl Directory {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            callers: papaya::HashMap::new(),
            by_key: papaya::HashMap::new(),
            accounts: papaya::HashMap::new(),
            invalid: papaya::HashMap::new(),
            synced_at: AtomicU64::new(0),
            cold: Mutex::default(),
        }
    }

    fn cold(&self) -> std::sync::MutexGuard<'_, Cold> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something asked for at `asked_at` may still be believed: the feed was read since a bounded time ago, or
    /// it is itself that young.
    fn is_believed(&self, asked_at: Duration, now: Duration) -> bool {
        let synced_at = Duration::from_nanos(self.synced_at.load(Ordering::Acquire));
        now.saturating_sub(asked_at.max(synced_at)) < self.bounds.staleness
    }

    pub(crate) fn look_up(&self, fingerprint: Fingerprint, now: Duration) -> Known {
        if let Some(caller) = self.callers.pin().get(&fingerprint)
            && !caller.stale.load(Ordering::Acquire)
            && !caller.account.is_stale()
            && self.is_believed(caller.asked_at, now)
            && self.is_believed(caller.account.asked_at, now)
        {
            if !caller.used.load(Ordering::Relaxed) {
                caller.used.store(true, Ordering::Relaxed);
            }
            return Known::Caller(Arc::clone(caller));
        }
        match self.invalid.pin().get(&fingerprint) {
            // A "no" is not renewed by the feed: it names keys, and an unknown key has no name.
            Some((reason, until)) if now < *until => Known::Invalid(*reason),
            _ => Known::Nothing,
        }
    }

    /// The moment before a verifier is asked.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.cold().changes_seen)
    }

    /// The account as it is kept, if it may still be believed.
    pub(crate) fn account(&self, id: AccountId, now: Duration) -> Option<Arc<Account>> {
        let accounts = self.accounts.pin();
        let account = accounts.get(&id)?;
        (!account.is_stale() && self.is_believed(account.asked_at, now)).then(|| Arc::clone(account))
    }

    /// Keeps a caller, unless its key or account changed after `since`. Answers whether it was kept.
    pub(crate) fn keep(&self, fingerprint: Fingerprint, caller: &Arc<Caller>, since: Moment) -> bool {
        let mut cold = self.cold();
        if cold.changed(caller, since) {
            return false;
        }
        let account = &caller.account;
        self.accounts.pin().insert(account.id, Arc::clone(account));
        if let Some(key) = caller.principal.key() {
            self.by_key.pin().insert(key, fingerprint);
        }
        if self
            .callers
            .pin()
            .insert(fingerprint, Arc::clone(caller))
            .is_none()
        {
            cold.order.push_back(fingerprint);
        }
        self.evict(&mut cold);
        true
    }

    /// Remembers a "no" for a moment.
    pub(crate) fn keep_invalid(&self, fingerprint: Fingerprint, reason: InvalidKey, until: Duration) {
        let mut cold = self.cold();
        if self.invalid.pin().insert(fingerprint, (reason, until)).is_none() {
            cold.invalid_order.push_back(fingerprint);
        }
        while cold.invalid_order.len() > self.bounds.invalid {
            if let Some(oldest) = cold.invalid_order.pop_front() {
                self.invalid.pin().remove(&oldest);
            }
        }
    }

    /// Second chance: those used since the last look stay for another round.
    fn evict(&self, cold: &mut Cold) {
        let callers = self.callers.pin();
        while cold.order.len() > self.bounds.callers {
            let Some(candidate) = cold.order.pop_front() else {
                return;
            };
            let Some(caller) = callers.get(&candidate) else {
                continue;
            };
            if caller.used.swap(false, Ordering::Relaxed) {
                cold.order.push_back(candidate);
                continue;
            }
            let caller = Arc::clone(caller);
            callers.remove(&candidate);
            if let Some(key) = caller.principal.key() {
                self.by_key.pin().remove(&key);
            }
            self.forget_unused_account(caller);
        }
    }

    /// Forgets the account with its last caller. Three handles are the map's, the caller's and this function's own.
    fn forget_unused_account(&self, caller: Arc<Caller>) {
        let id = caller.account.id;
        drop(caller);
        let accounts = self.accounts.pin();
        if accounts
            .get(&id)
            .is_some_and(|account| Arc::strong_count(account) <= 2)
        {
            accounts.remove(&id);
        }
    }

    /// Something changed: what is kept of it is not believed any more.
    pub(crate) fn apply(&self, change: ChangeSubject) {
        let mut cold = self.cold();
        match change {
            ChangeSubject::Key { key, .. } => {
                let fingerprint = self.by_key.pin().get(&key).copied();
                if let Some(caller) = fingerprint.and_then(|at| self.callers.pin().get(&at).map(Arc::clone)) {
                    caller.stale.store(true, Ordering::Release);
                }
            }
            ChangeSubject::Account(id) => {
                if let Some(account) = self.accounts.pin().get(&id) {
                    account.set_stale();
                }
            }
        }
        self.invalid.pin().clear();
        cold.invalid_order.clear();
        cold.changes_seen += 1;
        cold.changes.push_back(change);
        if cold.changes.len() > CHANGES {
            cold.changes.pop_front();
        }
    }

    /// The feed may have missed something: nothing that is kept is believed any more.
    pub(crate) fn apply_unknown(&self) {
        let mut cold = self.cold();
        for caller in self.callers.pin().values() {
            caller.stale.store(true, Ordering::Release);
        }
        self.invalid.pin().clear();
        cold.invalid_order.clear();
        cold.changes_seen += CHANGES as u64 + 1;
        cold.changes.clear();
    }

    /// The feed was read whole by a call that began at `at`.
    pub(crate) fn set_synced(&self, at: Duration) {
        self.synced_at
            .fetch_max(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::AcqRel);
    }

    /// How many callers are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.callers.len()
    }
}

impl Cold {
    fn changed(&self, caller: &Caller, since: Moment) -> bool {
        let missed = self.changes_seen.saturating_sub(since.0);
        if missed > self.changes.len() as u64 {
            return true;
        }
        self.changes
            .iter()
            .rev()
            .take(missed as usize)
            .any(|change| match change {
                ChangeSubject::Key { key, .. } => caller.principal.key() == Some(*key),
                ChangeSubject::Account(id) => caller.account.id == *id,
            })
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
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::key::KeyEnv;
    use crate::name::PlanId;
    use crate::plan::Plan;

    const SECOND: Duration = Duration::from_secs(1);

    fn directory(callers: usize) -> Directory {
        Directory::new(Bounds {
            callers,
            invalid: 2,
            staleness: SECOND * 5,
        })
    }

    fn caller(number: u128, asked_at: Duration) -> Arc<Caller> {
        let (plan, account) = (
            PlanId::from_static("free"),
            AccountId::from_uuid(Uuid::from_u128(number)),
        );
        let anchor = Timestamp::from_micros(0);
        let principal = Principal::new(account, plan.clone(), anchor)
            .with_key(KeyId::from_uuid(Uuid::from_u128(number)), KeyEnv::Live);
        let plan = Arc::new(Plan {
            id: plan,
            rates: Vec::new(),
            quotas: Vec::new(),
        });
        let account = Arc::new(Account::new(account, plan, anchor, None, asked_at));
        let verified = Verified {
            principal,
            not_before: None,
            expires_at: None,
            version: 1,
        };
        Arc::new(Caller::new(verified, account, asked_at))
    }

    fn is_known(directory: &Directory, number: u128, now: Duration) -> bool {
        matches!(directory.look_up(Fingerprint(number), now), Known::Caller(_))
    }

    fn changed_key(number: u128) -> ChangeSubject {
        ChangeSubject::Key {
            key: KeyId::from_uuid(Uuid::from_u128(number)),
            version: 2,
        }
    }

    #[test]
    fn a_caller_is_believed_until_the_staleness_bound_unless_the_feed_lives() {
        let directory = directory(10);
        assert!(directory.keep(Fingerprint(1), &caller(1, SECOND), directory.moment()));
        assert!(is_known(&directory, 1, SECOND * 5));
        assert!(!is_known(&directory, 1, SECOND * 6));
        directory.set_synced(SECOND * 6);
        assert!(is_known(&directory, 1, SECOND * 10));
        assert!(!is_known(&directory, 1, SECOND * 11));
    }

    #[test]
    fn a_changed_key_or_account_is_asked_for_again() {
        let directory = directory(10);
        for number in [1, 2, 3] {
            directory.keep(Fingerprint(number), &caller(number, SECOND), directory.moment());
        }
        directory.apply(changed_key(1));
        directory.apply(ChangeSubject::Account(AccountId::from_uuid(Uuid::from_u128(2))));
        assert_eq!(
            [1, 2, 3].map(|number| is_known(&directory, number, SECOND)),
            [false, false, true]
        );
        directory.apply_unknown();
        assert!(!is_known(&directory, 3, SECOND));
    }

    #[test]
    fn a_fill_that_raced_a_change_loses() {
        let directory = directory(10);
        let before = directory.moment();
        directory.apply(changed_key(1));
        assert!(!directory.keep(Fingerprint(1), &caller(1, SECOND), before));
        assert!(directory.keep(Fingerprint(2), &caller(2, SECOND), before));
        assert!(directory.keep(Fingerprint(1), &caller(1, SECOND), directory.moment()));
        let before = directory.moment();
        for number in 0..=CHANGES as u128 {
            directory.apply(changed_key(number + 10));
        }
        assert!(
            !directory.keep(Fingerprint(3), &caller(3, SECOND), before),
            "too many changes to tell"
        );
    }

    #[test]
    fn memory_is_bounded_and_those_in_use_stay() {
        let directory = directory(3);
        for number in 1..=3 {
            directory.keep(Fingerprint(number), &caller(number, SECOND), directory.moment());
        }
        for number in 4..100 {
            assert!(is_known(&directory, 1, SECOND));
            directory.keep(Fingerprint(number), &caller(number, SECOND), directory.moment());
            assert!(directory.len() <= 3);
        }
        assert!(is_known(&directory, 1, SECOND));
        assert!(directory.accounts.len() <= 4 && directory.by_key.len() <= 3);
    }

    #[test]
    fn a_no_is_remembered_for_a_moment() {
        let directory = directory(1);
        for number in 0..5 {
            directory.keep_invalid(Fingerprint(number), InvalidKey::Unknown, SECOND);
        }
        assert!(matches!(
            directory.look_up(Fingerprint(4), Duration::ZERO),
            Known::Invalid(InvalidKey::Unknown)
        ));
        assert!(matches!(
            directory.look_up(Fingerprint(4), SECOND),
            Known::Nothing
        ));
        assert!(matches!(
            directory.look_up(Fingerprint(0), Duration::ZERO),
            Known::Nothing
        ));
        directory.apply(changed_key(1));
        assert!(matches!(
            directory.look_up(Fingerprint(4), Duration::ZERO),
            Known::Nothing
        ));
    }

    #[test]
    fn fingerprints_depend_on_the_process() {
        let (a, b) = (Fingerprints::from_os().unwrap(), Fingerprints::from_os().unwrap());
        assert!(a.of("hm_live_x") == a.of("hm_live_x"));
        assert!(a.of("hm_live_x") != a.of("hm_live_y"));
        assert!(a.of("hm_live_x") != b.of("hm_live_x"));
    }
}
