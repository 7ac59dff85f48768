//! Closing what earlier runs left behind.

use super::{QuotaFixture, balance, lease, settle, state};
use crate::conformance::sample::{TOKENS, ask, at, counter, holder, settlement};
use crate::quota::{Holder, LeaseAsk, QuotaKey};
use crate::units::Units;

/// What earlier runs leased and did not settle is given back, over all counters, and the answer is how much.
pub async fn earlier_leases_are_given_back(fixture: QuotaFixture) {
    let key = counter(fixture.owner().await.account);
    let tokens = QuotaKey {
        meter: TOKENS,
        ..key.clone()
    };
    let foreign = counter(fixture.owner().await.account);
    let first = holder();
    let second = Holder { epoch: 2, ..first };
    let now = Holder { epoch: 3, ..first };
    let token = lease(&fixture, first, 1, &key, 30).await.token;
    lease(&fixture, second, 1, &key, 20).await;
    lease(&fixture, first, 1, &tokens, 40).await;
    lease(&fixture, second, 1, &foreign, 7).await;
    settle(&fixture, first, 1, &[settlement(&key, Some(token), 12)]).await;
    let given_back = fixture.store.close_earlier(now, at(5)).await.unwrap();
    assert_eq!(given_back.get(), 18 + 20 + 40 + 7);
    assert_eq!(state(&fixture, &key).await, balance(12, 0));
    assert_eq!(state(&fixture, &tokens).await, balance(0, 0));
    assert_eq!(state(&fixture, &foreign).await, balance(0, 0));
}

/// A lease whose time is over is nobody else's: its holder may be dead and have spent it.
pub async fn a_lease_does_not_end_by_itself(fixture: QuotaFixture) {
    let (key, dead) = (counter(fixture.owner().await.account), holder());
    lease(&fixture, dead, 1, &key, 70).await;
    let much_later = LeaseAsk {
        now: at(1_000_000),
        until: at(1_000_060),
        ..ask(holder(), 1, &key, 100, 100)
    };
    let grant = fixture.store.lease(&much_later).await.unwrap();
    assert_eq!((grant.granted.get(), grant.balance), (30, balance(0, 100)));
}

/// Other replicas' leases and the run's own stay open.
pub async fn other_replicas_and_the_own_run_are_left_alone(fixture: QuotaFixture) {
    let (key, now) = (counter(fixture.owner().await.account), holder());
    let other = holder();
    let own = lease(&fixture, now, 1, &key, 30).await;
    lease(&fixture, other, 1, &key, 20).await;
    assert_eq!(
        fixture.store.close_earlier(now, at(5)).await.unwrap(),
        Units::ZERO
    );
    assert_eq!(state(&fixture, &key).await, balance(0, 50));
    let again = lease(&fixture, now, 2, &key, 1).await;
    assert_eq!(again.token, own.token);
}

/// Closing again gives nothing back again.
pub async fn closing_again_gives_nothing_back(fixture: QuotaFixture) {
    let (key, before) = (counter(fixture.owner().await.account), holder());
    let now = Holder { epoch: 2, ..before };
    lease(&fixture, before, 1, &key, 30).await;
    lease(&fixture, now, 1, &key, 10).await;
    for expected in [30, 0, 0] {
        let given_back = fixture.store.close_earlier(now, at(5)).await.unwrap();
        assert_eq!(given_back.get(), expected);
        assert_eq!(state(&fixture, &key).await, balance(0, 10));
    }
}

/// Units spent from a closed lease are counted, but no longer taken out of what is leased.
pub async fn units_of_a_closed_lease_are_counted(fixture: QuotaFixture) {
    let (key, before) = (counter(fixture.owner().await.account), holder());
    let now = Holder { epoch: 2, ..before };
    let token = lease(&fixture, before, 1, &key, 30).await.token;
    fixture.store.close_earlier(now, at(5)).await.unwrap();
    lease(&fixture, now, 1, &key, 50).await;
    settle(&fixture, before, 1, &[settlement(&key, Some(token), 5)]).await;
    assert_eq!(state(&fixture, &key).await, balance(5, 50));
    assert_eq!(lease(&fixture, now, 2, &key, 100).await.granted.get(), 45);
}

/// A run that was thought over and leases again gets another lease: what it spent from the closed one is not taken
/// out of the new one.
pub async fn a_closed_lease_does_not_open_again(fixture: QuotaFixture) {
    let (key, before) = (counter(fixture.owner().await.account), holder());
    let now = Holder { epoch: 2, ..before };
    let closed = lease(&fixture, before, 1, &key, 30).await;
    fixture.store.close_earlier(now, at(5)).await.unwrap();
    let opened = lease(&fixture, before, 2, &key, 10).await;
    assert_eq!(opened.granted.get(), 10);
    assert_ne!(opened.token, closed.token);
    let spent = [
        settlement(&key, Some(closed.token), 4),
        settlement(&key, Some(opened.token), 3),
    ];
    settle(&fixture, before, 1, &spent).await;
    assert_eq!(state(&fixture, &key).await, balance(7, 7));
}
