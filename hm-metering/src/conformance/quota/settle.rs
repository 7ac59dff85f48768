//! Counting what was spent.

use super::{QuotaFixture, balance, lease, settle, state};
use crate::conformance::sample::{TOKENS, counter, holder, settlement};
use crate::quota::{QuotaKey, Settlement};
use crate::units::Units;

/// Settled units move from leased to used.
pub async fn settled_units_are_used_and_no_longer_leased(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 30).await;
    settle(&fixture, holder, 1, &[settlement(&key, Some(grant.token), 12)]).await;
    assert_eq!(state(&fixture, &key).await, balance(12, 18));
    settle(&fixture, holder, 2, &[settlement(&key, Some(grant.token), 18)]).await;
    assert_eq!(state(&fixture, &key).await, balance(30, 0));
    assert_eq!(lease(&fixture, holder, 2, &key, 100).await.granted.get(), 70);
}

/// The same batch a second time changes nothing.
pub async fn a_batch_is_settled_once(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 30).await;
    for _ in 0..3 {
        settle(&fixture, holder, 1, &[settlement(&key, Some(grant.token), 10)]).await;
    }
    assert_eq!(state(&fixture, &key).await, balance(10, 20));
}

/// Batches of different holders and runs are different batches, though their numbers are equal; they come in any
/// order.
pub async fn batches_are_told_apart(fixture: QuotaFixture) {
    let (key, first) = (counter(fixture.owner().await.account), holder());
    let next_run = crate::quota::Holder { epoch: 2, ..first };
    for holder in [first, next_run, holder()] {
        for number in [2, 1] {
            settle(&fixture, holder, number, &[settlement(&key, None, 1)]).await;
        }
    }
    assert_eq!(state(&fixture, &key).await, balance(6, 0));
}

/// An empty batch can be settled, and nothing can be spent.
pub async fn nothing_can_be_settled(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    settle(&fixture, holder, 1, &[]).await;
    settle(&fixture, holder, 2, &[settlement(&key, None, 0)]).await;
    assert_eq!(state(&fixture, &key).await, balance(0, 0));
}

/// One batch may name a counter several times, and several counters.
pub async fn a_counter_may_be_named_several_times(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let tokens = QuotaKey {
        meter: TOKENS,
        ..key.clone()
    };
    let token = Some(lease(&fixture, holder, 1, &key, 30).await.token);
    let settlements = [
        settlement(&key, token, 5),
        settlement(&tokens, None, 700),
        settlement(&key, token, 6),
        settlement(&key, None, 40),
        settlement(&tokens, None, 7),
    ];
    settle(&fixture, holder, 1, &settlements).await;
    assert_eq!(state(&fixture, &key).await, balance(51, 19));
    assert_eq!(state(&fixture, &tokens).await, balance(707, 0));
}

/// What was not leased is counted all the same, as on unlimited plans.
pub async fn units_without_a_lease_are_counted(fixture: QuotaFixture) {
    let (key, holder_a) = (counter(fixture.owner().await.account), holder());
    lease(&fixture, holder_a, 1, &key, 30).await;
    let unlimited = Settlement {
        limit: None,
        ..settlement(&key, None, 500)
    };
    settle(&fixture, holder(), 1, &[unlimited]).await;
    assert_eq!(state(&fixture, &key).await, balance(500, 30));
    assert_eq!(lease(&fixture, holder(), 1, &key, 1).await.granted.get(), 0);
}

/// More than the lease has is counted as used, and no more than it has is taken out of what is leased.
pub async fn more_than_the_lease_has_is_counted(fixture: QuotaFixture) {
    let (key, holder_a, holder_b) = (counter(fixture.owner().await.account), holder(), holder());
    let token = lease(&fixture, holder_a, 1, &key, 10).await.token;
    lease(&fixture, holder_b, 1, &key, 20).await;
    settle(&fixture, holder_a, 1, &[settlement(&key, Some(token), 15)]).await;
    assert_eq!(state(&fixture, &key).await, balance(15, 20));
    assert_eq!(lease(&fixture, holder_a, 2, &key, 100).await.granted.get(), 65);
}

/// The greatest number of units can be settled, and sums stop there.
pub async fn the_greatest_number_can_be_settled(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    for number in 1..=2 {
        settle(
            &fixture,
            holder,
            number,
            &[settlement(&key, None, Units::MAX.get())],
        )
        .await;
        assert_eq!(state(&fixture, &key).await, balance(Units::MAX.get(), 0));
    }
}
