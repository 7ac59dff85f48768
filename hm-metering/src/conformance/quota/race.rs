//! Many at once, and calls that are given up half-way.

use super::{QuotaFixture, balance, state};
use crate::conformance::sample::{ask, at, at_once, counter, drop_after, give_back, holder, settlement};
use crate::quota::Holder;
use crate::usage::BatchId;

const TASKS: u64 = 64;

/// Whatever runs at the same time, exactly the limit is granted.
pub async fn many_holders_get_exactly_the_limit(fixture: QuotaFixture) {
    let key = counter(fixture.owner().await.account);
    let grants = at_once((0..TASKS).map(|number| {
        let (store, key) = (fixture.store.clone(), key.clone());
        async move {
            let ask = ask(holder(), 1, &key, 100, 1 + number % 5);
            let grant = store.lease(&ask).await.unwrap();
            assert!(grant.granted <= ask.want, "more than wanted");
            assert!(grant.balance.leased.get() <= 100, "over the limit");
            grant.granted.get()
        }
    }))
    .await;
    assert_eq!(grants.into_iter().sum::<u64>(), 100);
    assert_eq!(state(&fixture, &key).await, balance(0, 100));
}

/// A call that is repeated while it still runs debits once.
pub async fn simultaneous_repeats_debit_once(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grants = at_once((0..16).map(|_| {
        let (store, ask) = (fixture.store.clone(), ask(holder, 1, &key, 100, 30));
        async move { store.lease(&ask).await.unwrap() }
    }))
    .await;
    assert!(grants.iter().all(|grant| grant.granted.get() == 30));
    assert!(grants.iter().all(|grant| grant.token == grants[0].token));
    assert_eq!(state(&fixture, &key).await, balance(0, 30));
}

/// A batch that is settled by many at once counts once.
pub async fn simultaneous_settlements_of_a_batch_count_once(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = fixture.store.lease(&ask(holder, 1, &key, 100, 50)).await.unwrap();
    let batch = BatchId {
        replica: holder.replica,
        epoch: 1,
        number: 1,
    };
    let settled = at_once((0..16).map(|_| {
        let (store, settlement) = (fixture.store.clone(), settlement(&key, Some(grant.token), 20));
        async move { store.settle(holder, batch, &[settlement], at(3)).await }
    }))
    .await;
    assert!(settled.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(state(&fixture, &key).await, balance(20, 30));
}

/// Leases, releases and settlements that run side by side leave nothing behind and lose nothing.
pub async fn many_lease_settle_and_release_side_by_side(fixture: QuotaFixture) {
    let key = counter(fixture.owner().await.account);
    let spent = at_once((0..24).map(|_| {
        let (store, key, holder) = (fixture.store.clone(), key.clone(), holder());
        async move {
            let mut spent = 0;
            for round in 0..3 {
                let ask = ask(holder, 2 * round + 1, &key, 100, 7);
                let grant = store.lease(&ask).await.unwrap();
                let (used, leased) = (grant.balance.used.get(), grant.balance.leased.get());
                assert!(used + leased <= 100, "{used} used and {leased} leased of 100");
                let spend = grant.granted.get().min(2);
                let batch = BatchId {
                    replica: holder.replica,
                    epoch: holder.epoch,
                    number: round + 1,
                };
                let settlement = settlement(&key, Some(grant.token), spend);
                store.settle(holder, batch, &[settlement], at(3)).await.unwrap();
                let rest = grant.granted.get() - spend;
                let release = give_back(holder, 2 * round + 2, &key, grant.token, rest);
                store.release(&release).await.unwrap();
                spent += spend;
            }
            spent
        }
    }))
    .await;
    let spent = spent.into_iter().sum::<u64>();
    assert!(spent <= 100);
    assert_eq!(state(&fixture, &key).await, balance(spent, 0));
}

/// Batches that name the same counters in different orders don't block each other.
pub async fn settlements_in_any_order_do_not_block(fixture: QuotaFixture) {
    let (first, second) = (
        counter(fixture.owner().await.account),
        counter(fixture.owner().await.account),
    );
    let settled = at_once((0..32).map(|number| {
        let (store, holder) = (fixture.store.clone(), holder());
        let mut settlements = [settlement(&first, None, 1), settlement(&second, None, 2)];
        if number % 2 == 1 {
            settlements.reverse();
        }
        let batch = BatchId {
            replica: holder.replica,
            epoch: holder.epoch,
            number: 1,
        };
        async move { store.settle(holder, batch, &settlements, at(3)).await }
    }))
    .await;
    for answer in settled {
        answer.unwrap();
    }
    assert_eq!(state(&fixture, &first).await, balance(32, 0));
    assert_eq!(state(&fixture, &second).await, balance(64, 0));
}

/// Units that are released while their lease is closed are given back once.
pub async fn release_and_close_give_back_once(fixture: QuotaFixture) {
    for _ in 0..8 {
        let (key, before) = (counter(fixture.owner().await.account), holder());
        let now = Holder { epoch: 2, ..before };
        let grant = fixture.store.lease(&ask(before, 1, &key, 100, 40)).await.unwrap();
        let other = holder();
        fixture.store.lease(&ask(other, 1, &key, 100, 60)).await.unwrap();
        let release = give_back(before, 2, &key, grant.token, 40);
        let done = at_once((0..2).map(|number| {
            let (store, release) = (fixture.store.clone(), release.clone());
            async move {
                if number == 0 {
                    store.release(&release).await.map(|_| ())
                } else {
                    store.close_earlier(now, at(5)).await.map(|_| ())
                }
            }
        }))
        .await;
        assert!(done.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(state(&fixture, &key).await, balance(0, 60));
    }
}

/// A call that is given up half-way can be repeated, with the same effect as once.
pub async fn a_dropped_call_can_be_repeated(fixture: QuotaFixture) {
    for polls in 0..12 {
        let (key, holder) = (counter(fixture.owner().await.account), holder());
        let store = &fixture.store;
        let ask = ask(holder, 1, &key, 100, 50);
        drop_after(polls, store.lease(&ask)).await;
        let grant = store.lease(&ask).await.unwrap();
        assert_eq!(grant.granted.get(), 50);
        let release = give_back(holder, 2, &key, grant.token, 10);
        drop_after(polls, store.release(&release)).await;
        store.release(&release).await.unwrap();
        assert_eq!(state(&fixture, &key).await, balance(0, 40));
        let batch = BatchId {
            replica: holder.replica,
            epoch: 1,
            number: 1,
        };
        let spent = [settlement(&key, Some(grant.token), 15)];
        drop_after(polls, store.settle(holder, batch, &spent, at(3))).await;
        store.settle(holder, batch, &spent, at(3)).await.unwrap();
        assert_eq!(state(&fixture, &key).await, balance(15, 25));
    }
}
