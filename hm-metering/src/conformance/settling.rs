//! The cases of a store that is sink and quota store in one and applies a batch's settlements itself.

use super::Fixture;
use super::fixture::Case;
use super::sample::{ask, at, at_once, batch_of, counter, drop_after, event, holder, kind, settlement};
use crate::error::StoreErrorKind;
use crate::quota::{Balance, QuotaKey, QuotaStore};
use crate::units::Units;
use crate::usage::{Batch, Recorded, UsageSink};

/// A sink that keeps quotas too.
pub trait SettlingStore: QuotaStore + UsageSink {}

impl<S: QuotaStore + UsageSink> SettlingStore for S {}

/// What a case of this suite gets.
pub type SettlingFixture = Fixture<dyn SettlingStore>;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn SettlingStore>> {
    crate::__settling_store_cases!([crate::__conformance_list])
}

async fn state(fixture: &SettlingFixture, key: &QuotaKey) -> (u64, u64) {
    let answer = fixture.store.balances(std::slice::from_ref(key)).await.unwrap();
    let Balance { used, leased } = answer[0];
    (used.get(), leased.get())
}

/// A counter of which 50 units are leased, and a batch that spends 20 of them.
async fn spending(fixture: &SettlingFixture) -> (QuotaKey, Batch) {
    let account = fixture.owner().await.account;
    let (key, holder) = (counter(account), holder());
    let grant = fixture.store.lease(&ask(holder, 1, &key, 100, 50)).await.unwrap();
    let batch = Batch {
        settlements: vec![
            settlement(&key, Some(grant.token), 15),
            settlement(&key, Some(grant.token), 5),
        ],
        ..batch_of(holder, 1, vec![event(account, at(1)), event(account, at(2))])
    };
    (key, batch)
}

/// Sink and quota store name the same database.
pub async fn the_sink_is_the_one_that_settles(fixture: SettlingFixture) {
    let identity = fixture.store.identity();
    assert!(identity.is_some());
    assert_eq!(fixture.store.settled_by(), identity);
}

/// Recording a batch applies its settlements, once.
pub async fn recording_settles_once(fixture: SettlingFixture) {
    let (key, batch) = spending(&fixture).await;
    for expected in [Recorded::New, Recorded::Repeated, Recorded::Repeated] {
        assert_eq!(fixture.store.record(&batch).await.unwrap(), expected);
        assert_eq!(state(&fixture, &key).await, (20, 30));
    }
}

/// A batch without events settles too.
pub async fn an_empty_batch_settles(fixture: SettlingFixture) {
    let (key, mut batch) = spending(&fixture).await;
    batch.events.clear();
    fixture.store.record(&batch).await.unwrap();
    assert_eq!(state(&fixture, &key).await, (20, 30));
}

/// Settling a batch that is recorded changes nothing more.
pub async fn settling_a_recorded_batch_changes_nothing(fixture: SettlingFixture) {
    let (key, batch) = spending(&fixture).await;
    fixture.store.record(&batch).await.unwrap();
    let settled = fixture
        .store
        .settle(batch.id.holder(), batch.id, &batch.settlements, at(3));
    settled.await.unwrap();
    assert_eq!(state(&fixture, &key).await, (20, 30));
}

/// A batch that is refused settles nothing.
pub async fn a_refused_batch_settles_nothing(fixture: SettlingFixture) {
    let (key, batch) = spending(&fixture).await;
    fixture.store.record(&batch).await.unwrap();
    let half_new = Batch {
        settlements: vec![settlement(&key, None, Units::ONE.get())],
        ..batch_of(batch.id.holder(), 2, batch.events.clone())
    };
    assert_eq!(
        kind(fixture.store.record(&half_new).await),
        StoreErrorKind::Conflict
    );
    assert_eq!(state(&fixture, &key).await, (20, 30));
}

/// A batch that is sent by many at once, or given up half-way and repeated, settles once.
pub async fn many_sends_settle_once(fixture: SettlingFixture) {
    let (key, batch) = spending(&fixture).await;
    let answers = at_once((0..16).map(|_| {
        let (store, batch) = (fixture.store.clone(), batch.clone());
        async move { store.record(&batch).await }
    }))
    .await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(state(&fixture, &key).await, (20, 30));
    for polls in 0..12 {
        let (key, batch) = spending(&fixture).await;
        drop_after(polls, fixture.store.record(&batch)).await;
        fixture.store.record(&batch).await.unwrap();
        assert_eq!(state(&fixture, &key).await, (20, 30));
    }
}

/// Leases that run beside batches never take the counter over its limit.
pub async fn recording_and_leasing_keep_the_limit(fixture: SettlingFixture) {
    let account = fixture.owner().await.account;
    let key = counter(account);
    let spent = at_once((0..24).map(|_| {
        let (store, key, holder) = (fixture.store.clone(), key.clone(), holder());
        async move {
            let mut spent = 0;
            for round in 1..=3 {
                let grant = store.lease(&ask(holder, round, &key, 100, 3)).await.unwrap();
                let (used, leased) = (grant.balance.used.get(), grant.balance.leased.get());
                assert!(used + leased <= 100, "{used} used and {leased} leased of 100");
                let batch = Batch {
                    settlements: vec![settlement(&key, Some(grant.token), grant.granted.get())],
                    ..batch_of(holder, round, vec![event(account, at(1))])
                };
                assert_eq!(store.record(&batch).await.unwrap(), Recorded::New);
                spent += grant.granted.get();
            }
            spent
        }
    }))
    .await;
    assert_eq!(spent.into_iter().sum::<u64>(), 100);
    assert_eq!(state(&fixture, &key).await, (100, 0));
}
