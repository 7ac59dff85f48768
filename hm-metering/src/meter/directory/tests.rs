use std::sync::Weak;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::changes::CHANGES;
use super::*;
use crate::id::{AccountId, KeyId, ReplicaId};
use crate::key::KeyEnv;
use crate::keys::KeyQuotas;
use crate::measures::Measures;
use crate::memory::MemoryStore;
use crate::meter::report::HeaderStyle;
use crate::name::{MeterName, PlanId};
use crate::plan::{Quota, RateLimit};
use crate::principal::Principal;
use crate::quota::{Answer, Holder};
use crate::testing::TestClock;
use crate::time::{Clock, Timestamp};
use crate::units::Units;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn directory(callers: usize) -> Directory {
    directory_of(callers, usize::MAX)
}

pub(super) fn directory_of(callers: usize, callers_bytes: usize) -> Directory {
    let bounds = Bounds {
        callers,
        callers_bytes,
        invalid: 2,
        staleness: SECOND * 5,
    };
    Directory::new(bounds, Shapes::new(HeaderStyle::default()))
}

pub(super) fn verified(number: u128) -> Verified {
    let (plan, account) = (
        PlanId::from_static("free"),
        AccountId::from_uuid(Uuid::from_u128(number)),
    );
    let principal = Principal::new(account, plan, Timestamp::from_micros(0))
        .with_key(KeyId::from_uuid(Uuid::from_u128(number)), KeyEnv::Live);
    Verified {
        principal,
        not_before: None,
        expires_at: None,
        plan_until: None,
        version: 1,
    }
}

pub(super) fn plan(rates: &[u32]) -> Arc<Plan> {
    let rate = |limit: &u32| RateLimit {
        name: "second".to_owned(),
        limit: *limit,
        per: SECOND,
        burst: *limit,
    };
    Arc::new(Plan {
        id: PlanId::from_static("free"),
        rates: rates.iter().map(rate).collect(),
        concurrency: Vec::new(),
        quotas: Vec::new(),
    })
}

/// Keeps the caller of this number, asked for at one second. Answers whether it was kept.
pub(super) fn keep(directory: &Directory, number: u128, since: Moment) -> bool {
    directory
        .keep(
            Fingerprint::new(number),
            &verified(number),
            plan(&[]),
            None,
            (since, SECOND),
        )
        .is_some()
}

pub(super) fn is_known(directory: &Directory, number: u128, now: Duration) -> bool {
    matches!(directory.look_up(Fingerprint::new(number), now), Known::Caller(_))
}

fn changed_key(number: u128) -> ChangeSubject {
    ChangeSubject::Key {
        key: KeyId::from_uuid(Uuid::from_u128(number)),
        version: 1,
    }
}

#[test]
fn a_caller_is_believed_until_the_staleness_bound_unless_the_feed_lives() {
    let directory = directory(10);
    assert!(keep(&directory, 1, directory.moment()));
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
        keep(&directory, number, directory.moment());
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
    assert!(!keep(&directory, 1, before));
    assert!(keep(&directory, 2, before));
    assert!(keep(&directory, 1, directory.moment()));
    let before = directory.moment();
    for number in 0..=CHANGES as u128 {
        directory.apply(changed_key(number + 10));
    }
    assert!(!keep(&directory, 3, before), "too many changes to tell");
}

#[test]
fn memory_is_bounded_and_those_in_use_stay() {
    let directory = directory(3);
    for number in 1..=3 {
        keep(&directory, number, directory.moment());
    }
    for number in 4..100 {
        assert!(is_known(&directory, 1, SECOND));
        keep(&directory, number, directory.moment());
        assert!(directory.len() <= 3);
    }
    assert!(is_known(&directory, 1, SECOND));
    assert!(directory.accounts.len() <= 4 && directory.by_key.len() <= 3);
}

#[test]
fn a_no_is_remembered_for_a_moment() {
    let directory = directory(1);
    for number in 0..5 {
        directory.keep_invalid(Fingerprint::new(number), InvalidKey::Unknown, SECOND);
    }
    assert!(matches!(
        directory.look_up(Fingerprint::new(4), Duration::ZERO),
        Known::Invalid(InvalidKey::Unknown)
    ));
    assert!(matches!(
        directory.look_up(Fingerprint::new(4), SECOND),
        Known::Nothing
    ));
    assert!(matches!(
        directory.look_up(Fingerprint::new(0), Duration::ZERO),
        Known::Nothing
    ));
    directory.apply(changed_key(1));
    assert!(matches!(
        directory.look_up(Fingerprint::new(4), Duration::ZERO),
        Known::Nothing
    ));
}

#[test]
fn an_answer_older_than_a_change_that_was_seen_is_not_kept() {
    let directory = directory(10);
    directory.apply(ChangeSubject::Key {
        key: KeyId::from_uuid(Uuid::from_u128(1)),
        version: 2,
    });
    // The verdict has version 1, the change said 2: it comes from a copy that lags behind.
    assert!(!keep(&directory, 1, directory.moment()));
    assert!(keep(&directory, 2, directory.moment()));
}

#[test]
fn a_late_or_repeated_change_brings_no_key_back() {
    let directory = directory(10);
    assert!(keep(&directory, 1, directory.moment()));
    for version in [2, 1, 2, 1] {
        directory.apply(ChangeSubject::Key {
            key: KeyId::from_uuid(Uuid::from_u128(1)),
            version,
        });
        assert!(!is_known(&directory, 1, SECOND));
        // A verdict of version 1, as it was before the change of version 2.
        assert!(!keep(&directory, 1, directory.moment()));
    }
}

#[test]
fn rates_keep_their_state_until_they_change() {
    let directory = directory(10);
    let kept = |rates: &[u32]| {
        let asked = (directory.moment(), SECOND);
        directory
            .keep(Fingerprint::new(1), &verified(1), plan(rates), None, asked)
            .unwrap()
            .account
            .clone()
    };
    let remaining = |account: &Account| -> Vec<u32> {
        let buckets = account.buckets().iter();
        buckets.map(|bucket| bucket.remaining(0)).collect()
    };
    let first = kept(&[5]);
    for bucket in first.buckets().iter() {
        bucket.take(0, 3);
    }
    let change = || directory.apply(ChangeSubject::Account(AccountId::from_uuid(Uuid::from_u128(1))));
    change();
    let second = kept(&[5]);
    assert_eq!(remaining(&second), [2], "asked for again, and nothing changed");
    first.buckets().iter().for_each(|bucket| bucket.put_back(1));
    change();
    assert_eq!(
        remaining(&kept(&[5])),
        [3],
        "a request under way put back what it took"
    );
    assert_eq!(remaining(&kept(&[6])), [6]);
    assert_eq!(remaining(&kept(&[6, 4, 3])), [6, 4, 3]);
}

/// Counts quotas in memory.
pub(super) fn lease_book(clock: &TestClock) -> Arc<LeaseBook> {
    LeaseBook::new(
        Arc::new(MemoryStore::new()),
        Holder {
            replica: ReplicaId::from_uuid(Uuid::from_u128(1)),
            epoch: 1,
        },
        Arc::new(clock.clone()),
        Handle::current(),
        SECOND,
        Measures::new(),
    )
}

#[tokio::test]
async fn a_lease_that_its_account_does_not_use_is_forgotten_and_made_anew() {
    let clock = TestClock::at(Timestamp::from_micros(0));
    let book = lease_book(&clock);
    let directory = Arc::new(directory(10));
    let users = Arc::downgrade(&directory);
    book.set_users(users);
    let plan = Arc::new(Plan::new("free").quota(Quota::per_day(100)));
    let asked = (directory.moment(), SECOND);
    let caller = directory
        .keep(Fingerprint::new(1), &verified(1), plan, Some(&book), asked)
        .unwrap();
    let (quota, counter) = caller.account.quota(0).unwrap();
    let ask = async || {
        let lease = counter.open(clock.now());
        book.wait(&lease, quota.limit, Units::ONE, SECOND).await
    };
    for _ in 0..2 {
        assert_eq!(ask().await, Answer::Granted);
        let mut seconds = 0;
        while book.leases().len() > 0 {
            seconds += 1;
            assert!(seconds < 100, "it is still there");
            clock.advance(SECOND);
            book.tend().await;
            tokio::time::sleep(Duration::ZERO).await;
        }
        assert!(seconds > 50, "it may be used again");
        assert!(counter.at(clock.now()).is_none());
    }
}

/// A verdict on a key that has a quota of its own.
fn verified_with_quota() -> Verified {
    let quotas = KeyQuotas::new([Quota::per_day(100)]).unwrap();
    let verified = verified(1);
    Verified {
        principal: verified.principal.clone().with_quotas(quotas),
        ..verified
    }
}

#[tokio::test]
async fn a_lease_of_a_key_that_nobody_uses_is_forgotten_and_made_anew() {
    let clock = TestClock::at(Timestamp::from_micros(0));
    let book = lease_book(&clock);
    let directory = Arc::new(directory(10));
    book.set_users(Arc::downgrade(&directory) as Weak<dyn Users>);
    let keep = |plan: Plan| {
        let asked = (directory.moment(), SECOND);
        let plan = Arc::new(plan);
        directory
            .keep(
                Fingerprint::new(1),
                &verified_with_quota(),
                plan,
                Some(&book),
                asked,
            )
            .unwrap()
    };
    let ask = async |caller: &Caller| {
        let (quota, counter) = caller
            .own_quotas()
            .unwrap()
            .of_meter(&MeterName::REQUESTS)
            .unwrap();
        let lease = counter.open(&caller.account, clock.now());
        let answer = book.wait(&lease, quota.limit, Units::ONE, SECOND).await;
        assert_eq!(answer, Answer::Granted);
    };
    let forget = async || {
        for _ in 0..100 {
            clock.advance(SECOND);
            book.tend().await;
            tokio::time::sleep(Duration::ZERO).await;
        }
        assert_eq!(book.leases().len(), 0);
    };
    let caller = keep(Plan::new("free"));
    for _ in 0..2 {
        ask(&caller).await;
        assert_eq!(book.leases().len(), 1);
        forget().await;
    }
    // A handler may keep the caller for long after another took its place.
    ask(&caller).await;
    let next = keep(Plan::new("free").quota(Quota::per_day(5)));
    ask(&next).await;
    assert_eq!(book.leases().len(), 1, "both have the same window");
    forget().await;
    drop((caller, next));
}

#[tokio::test]
async fn what_a_key_took_of_its_quota_counts_on_when_it_is_looked_up_anew() {
    let clock = TestClock::at(Timestamp::from_micros(0));
    let book = lease_book(&clock);
    let directory = directory(10);
    let opened = || {
        let asked = (directory.moment(), SECOND);
        let plan = Arc::new(Plan::new("free"));
        let caller = directory
            .keep(
                Fingerprint::new(1),
                &verified_with_quota(),
                plan,
                Some(&book),
                asked,
            )
            .unwrap();
        let (_, counter) = caller
            .own_quotas()
            .unwrap()
            .of_meter(&MeterName::REQUESTS)
            .unwrap();
        counter.open(&caller.account, clock.now())
    };
    let first = opened();
    first.window().note_taken(Units::new(3));
    assert!(Arc::ptr_eq(&first, &opened()));
    assert_eq!(opened().window().taken(), 3);
}

#[test]
fn a_key_without_quotas_or_where_nothing_counts_them_has_no_counters() {
    let directory = directory(10);
    for verified in [verified(1), verified_with_quota()] {
        let asked = (directory.moment(), SECOND);
        let caller = directory.keep(Fingerprint::new(1), &verified, plan(&[]), None, asked);
        let caller = caller.unwrap();
        assert!(caller.own_quotas().is_none());
        assert_eq!(*caller.principal().quotas(), *verified.principal.quotas());
    }
}
