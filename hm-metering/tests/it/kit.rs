//! The test kit does what tests rely on.

use std::time::Duration;

use hm_metering::keys::{InvalidKey, Verdict};
use hm_metering::page::PageRequest;
use hm_metering::testing::{FlakyStore, StoreCall, TestClock, TestKeys};
use hm_metering::{
    Clock, KeyStore, KeyVerifier, MemoryStore, PlanId, PresentedKey, QuotaStore, StoreErrorKind, Timestamp,
    UsageSink,
};

const FREE: PlanId = PlanId::from_static("free");

fn now() -> Timestamp {
    Timestamp::from_micros(1_770_000_000_000_000)
}

#[tokio::test]
async fn a_test_key_is_accepted_and_others_are_not() {
    let keys = TestKeys::new(MemoryStore::new());
    let key = keys.issue(FREE, now()).await;
    let verdict = keys.verifier().verify(&key.presented(), now()).await.unwrap();
    let Verdict::Valid(verified) = verdict else {
        panic!("not accepted: {verdict:?}");
    };
    assert_eq!(verified.principal.account(), key.account);
    let short = keys
        .issue_with(FREE, now(), |key| {
            key.expires_at = Some(now().plus(Duration::from_secs(5)))
        })
        .await;
    let clock = TestClock::at(now());
    clock.advance(Duration::from_secs(5));
    for (presented, expected) in [
        (short.presented(), InvalidKey::Expired),
        (PresentedKey::new("hm_live_x"), InvalidKey::Malformed),
    ] {
        match keys.verifier().verify(&presented, clock.now()).await.unwrap() {
            Verdict::Invalid { reason, .. } => assert_eq!(reason, expected),
            Verdict::Valid(_) => panic!("accepted"),
        }
    }
}

#[tokio::test]
async fn a_flaky_store_fails_as_often_as_told_and_does_nothing_meanwhile() {
    let store = FlakyStore::new(MemoryStore::new());
    let key = TestKeys::new(store.inner().clone()).issue(FREE, now()).await;
    store.fail_next(2, StoreErrorKind::Unavailable);
    for _ in 0..2 {
        let failed = store.revoke(key.account, key.key, now()).await.unwrap_err();
        assert_eq!(failed.kind(), StoreErrorKind::Unavailable);
    }
    let record = store.get(key.account, key.key).await.unwrap().unwrap();
    assert_eq!(record.revoked_at, None);
    store.fail_all(StoreErrorKind::Timeout);
    for _ in 0..3 {
        let failed = store.balances(&[]).await.unwrap_err();
        assert_eq!(failed.kind(), StoreErrorKind::Timeout);
    }
    store.recover();
    store.balances(&[]).await.unwrap();
}

#[tokio::test]
async fn one_method_can_fail_alone() {
    let store = FlakyStore::new(MemoryStore::new());
    let key = TestKeys::new(store.inner().clone()).issue(FREE, now()).await;
    store.fail_every(StoreCall::Get, StoreErrorKind::Unavailable);
    for _ in 0..2 {
        assert!(store.get(key.account, key.key).await.is_err());
        assert!(store.list(key.account, &PageRequest::first(1)).await.is_ok());
    }
}

#[tokio::test]
async fn a_lost_answer_has_happened() {
    let store = FlakyStore::new(MemoryStore::new());
    let key = TestKeys::new(store.inner().clone()).issue(FREE, now()).await;
    store.lose_next(1);
    let lost = store.revoke(key.account, key.key, now()).await.unwrap_err();
    assert_eq!(lost.kind(), StoreErrorKind::Timeout);
    let record = store.get(key.account, key.key).await.unwrap().unwrap();
    assert_eq!(record.revoked_at, Some(now()));
}

#[tokio::test]
async fn a_hanging_store_goes_on_when_it_recovers() {
    let store = FlakyStore::new(MemoryStore::new());
    store.hang();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.balances(&[]).await })
        })
        .collect();
    while store.hanging() < 3 {
        tokio::task::yield_now().await;
    }
    waiting[0].abort();
    while store.hanging() > 2 {
        tokio::task::yield_now().await;
    }
    assert!(waiting[1..].iter().all(|task| !task.is_finished()));
    store.recover();
    for task in waiting.into_iter().skip(1) {
        assert!(task.await.unwrap().is_ok());
    }
    assert_eq!(store.hanging(), 0);
    assert_eq!(store.calls().of(StoreCall::Balances), 3);
}

#[tokio::test]
async fn calls_are_counted_by_method() {
    let store = FlakyStore::new(MemoryStore::new());
    let key = TestKeys::new(store.inner().clone()).issue(FREE, now()).await;
    assert_eq!(
        store.calls().total(),
        0,
        "the fixtures' own calls are not counted"
    );
    store.get(key.account, key.key).await.unwrap();
    let before = store.calls();
    store.get(key.account, key.key).await.unwrap();
    store.clone().balances(&[]).await.unwrap();
    let since = store.calls().since(&before);
    assert_eq!((since.of(StoreCall::Get), since.of(StoreCall::Balances)), (1, 1));
    assert_eq!((since.total(), store.calls().total()), (2, 3));
}

#[test]
fn a_flaky_store_has_the_identity_of_what_it_wraps() {
    let store = FlakyStore::new(MemoryStore::new());
    assert_eq!(store.identity(), store.inner().identity());
    assert_eq!(store.settled_by(), store.identity());
}
