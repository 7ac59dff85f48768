//! Giving units back.

use super::{QuotaFixture, balance, lease, settle, state};
use crate::conformance::sample::{ask, at, counter, give_back, holder, kind, settlement};
use crate::error::StoreErrorKind;
use crate::quota::Holder;

/// Units given back can be leased by others, and the answer is the counter's state.
pub async fn released_units_can_be_leased_again(fixture: QuotaFixture) {
    let (key, holder_a) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder_a, 1, &key, 100).await;
    let release = give_back(holder_a, 2, &key, grant.token, 30);
    assert_eq!(fixture.store.release(&release).await.unwrap(), balance(0, 70));
    assert_eq!(lease(&fixture, holder(), 1, &key, 100).await.granted.get(), 30);
    assert_eq!(state(&fixture, &key).await, balance(0, 100));
}

/// Repeating a release changes nothing.
pub async fn a_repeated_release_gives_back_once(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 50).await;
    let release = give_back(holder, 2, &key, grant.token, 20);
    for _ in 0..3 {
        assert_eq!(fixture.store.release(&release).await.unwrap(), balance(0, 30));
    }
    assert_eq!(state(&fixture, &key).await, balance(0, 30));
}

/// The repeat of a release that gave everything back is no error.
pub async fn a_whole_release_can_be_repeated(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 50).await;
    let release = give_back(holder, 2, &key, grant.token, 50);
    for _ in 0..2 {
        assert_eq!(fixture.store.release(&release).await.unwrap(), balance(0, 0));
    }
}

/// More units than the lease still has are refused, and nothing changes: the operation can be done right after.
pub async fn more_than_was_leased_is_not_given_back(fixture: QuotaFixture) {
    let (key, holder_a) = (counter(fixture.owner().await.account), holder());
    lease(&fixture, holder(), 1, &key, 40).await;
    let grant = lease(&fixture, holder_a, 1, &key, 30).await;
    let too_much = give_back(holder_a, 2, &key, grant.token, 31);
    assert_eq!(
        kind(fixture.store.release(&too_much).await),
        StoreErrorKind::Invalid
    );
    assert_eq!(state(&fixture, &key).await, balance(0, 70));
    let right = give_back(holder_a, 2, &key, grant.token, 30);
    assert_eq!(fixture.store.release(&right).await.unwrap(), balance(0, 40));
}

/// Settled units are spent and can't be given back.
pub async fn settled_units_are_not_given_back(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 30).await;
    settle(&fixture, holder, 1, &[settlement(&key, Some(grant.token), 20)]).await;
    let too_much = give_back(holder, 2, &key, grant.token, 11);
    assert_eq!(
        kind(fixture.store.release(&too_much).await),
        StoreErrorKind::Invalid
    );
    let right = give_back(holder, 2, &key, grant.token, 10);
    assert_eq!(fixture.store.release(&right).await.unwrap(), balance(20, 0));
}

/// A release below the last operation number is a conflict, and so is a lease below a release's number.
pub async fn a_late_release_is_a_conflict(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 3, &key, 30).await;
    let late = give_back(holder, 2, &key, grant.token, 10);
    assert_eq!(kind(fixture.store.release(&late).await), StoreErrorKind::Conflict);
    let right = give_back(holder, 4, &key, grant.token, 10);
    fixture.store.release(&right).await.unwrap();
    let late = ask(holder, 3, &key, 100, 10);
    assert_eq!(kind(fixture.store.lease(&late).await), StoreErrorKind::Conflict);
    assert_eq!(state(&fixture, &key).await, balance(0, 20));
}

/// A lease stays open when all of it was given back: it keeps its token and can grow again.
pub async fn an_empty_lease_stays_open(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 30).await;
    let release = give_back(holder, 2, &key, grant.token, 30);
    fixture.store.release(&release).await.unwrap();
    let again = lease(&fixture, holder, 3, &key, 5).await;
    assert_eq!((again.granted.get(), again.token), (5, grant.token));
    assert_eq!(again.balance, balance(0, 5));
}

/// Giving nothing back changes nothing.
pub async fn nothing_can_be_given_back(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 30).await;
    let release = give_back(holder, 2, &key, grant.token, 0);
    assert_eq!(fixture.store.release(&release).await.unwrap(), balance(0, 30));
}

/// Units of a closed lease are not given back a second time.
pub async fn a_closed_lease_gives_nothing_back(fixture: QuotaFixture) {
    let (key, before) = (counter(fixture.owner().await.account), holder());
    let now = Holder { epoch: 2, ..before };
    let grant = lease(&fixture, before, 1, &key, 30).await;
    fixture.store.close_earlier(now, at(5)).await.unwrap();
    lease(&fixture, now, 1, &key, 50).await;
    let release = give_back(before, 2, &key, grant.token, 30);
    assert_eq!(fixture.store.release(&release).await.unwrap(), balance(0, 50));
    assert_eq!(state(&fixture, &key).await, balance(0, 50));
}
