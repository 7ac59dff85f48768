//! Leases: exact to the last unit, shared by replicas, never run away.

use std::sync::Arc;
use std::time::Duration;

use super::replica::{Replica, clock, operation, pass, settle_down};
use crate::error::StoreErrorKind;
use crate::memory::MemoryStore;
use crate::meter::decide::Decision;
use crate::name::PlanId;
use crate::quota::{Holder, QuotaStore, Settlement};
use crate::testing::{FlakyStore, StoreCall};
use crate::time::Clock;
use crate::units::Units;
use crate::usage::BatchId;

fn plan(limit: u64) -> String {
    format!("quotas = [{{ meter = 'requests', limit = {limit}, period = 'day' }}]")
}

#[tokio::test]
async fn one_after_the_other_exactly_the_limit_is_let_through() {
    for limit in [1, 7, 1_000, 100_000] {
        let replica = Replica::new(&plan(limit), MemoryStore::new(), &clock());
        assert_eq!(replica.drain(&operation(1, 1, None)).await, limit);
        for units in [2, 3, 7] {
            let replica = Replica::new(&plan(limit), MemoryStore::new(), &clock());
            assert_eq!(replica.drain(&operation(1, units, None)).await, limit / units);
            assert_eq!(replica.drain(&operation(1, 1, None)).await, limit % units);
        }
    }
}

/// Sixty-four tasks take what they get, until nothing is left for the smallest; answers the units they got.
async fn at_once(replica: &Arc<Replica>, tokens: Option<u64>) -> u64 {
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let replica = Arc::clone(replica);
            tokio::spawn(async move {
                let mut got = 0;
                let mut units = 1 + task % 4;
                loop {
                    got += units * replica.drain(&operation(1, units, tokens)).await;
                    if units == 1 {
                        return got;
                    }
                    units -= 1;
                }
            })
        })
        .collect();
    let mut got = 0;
    for task in tasks {
        got += task.await.unwrap();
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once_exactly_the_limit_is_let_through() {
    for limit in [1, 7, 1_000, 100_000] {
        let replica = Arc::new(Replica::new(&plan(limit), MemoryStore::new(), &clock()));
        assert_eq!(at_once(&replica, None).await, limit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_meter_is_used_to_its_end_beside_a_cold_one() {
    let plan = "quotas = [{ meter = 'requests', limit = 5000, period = 'day' },
                          { meter = 'tokens', limit = 10000, period = 'hour' }]";
    let replica = Arc::new(Replica::new(plan, MemoryStore::new(), &clock()));
    assert_eq!(at_once(&replica, Some(0)).await, 5_000);
    let tokens = operation(1, 0, Some(1));
    assert!(!replica.serve(&tokens).await, "no requests are left");
}

#[tokio::test]
async fn replicas_that_take_turns_leave_nothing_behind() {
    let (store, clock) = (MemoryStore::new(), clock());
    for limit in [1, 5, 37, 1_000] {
        let plan = plan(limit);
        let account = uuid::Uuid::now_v7().into();
        let replicas: Vec<_> = (0..4)
            .map(|_| Replica::of(account, &plan, store.clone(), &clock))
            .collect();
        let all: Vec<_> = replicas.iter().collect();
        let (mut served, mut refused) = (0, 0);
        while refused < 120 {
            for replica in &replicas {
                if replica.serve(&operation(1, 1, None)).await {
                    (served, refused) = (served + 1, 0);
                } else {
                    refused += 1;
                }
            }
            if refused > 0 {
                pass(&all, 1).await;
            }
        }
        assert_eq!(served, limit);
    }
}

#[tokio::test]
async fn an_idle_replica_s_units_reach_the_other_when_the_refusal_said_so() {
    let (store, clock) = (MemoryStore::new(), clock());
    let (idle, busy) = (
        Replica::new(&plan(10), store.clone(), &clock),
        Replica::new(&plan(10), store, &clock),
    );
    assert!(idle.serve(&operation(1, 1, None)).await);
    pass(&[&idle, &busy], 1).await;
    assert_eq!(busy.drain(&operation(1, 1, None)).await, 2);
    // It asks again exactly when it was told to.
    let refusal = busy.attempt(&operation(1, 1, None)).await.unwrap_err();
    pass(&[&idle, &busy], refusal.retry_after().unwrap().as_secs()).await;
    assert_eq!(busy.drain(&operation(1, 1, None)).await, 7);
}

#[tokio::test]
async fn what_is_left_of_a_dead_replica_is_not_spent_again_until_it_is_closed() {
    let (store, clock) = (MemoryStore::new(), clock());
    let dead = Replica::new(&plan(100), store.clone(), &clock);
    for _ in 0..30 {
        assert!(dead.serve(&operation(1, 1, None)).await);
    }
    let (holder, mut served) = (dead.holder, 30);
    let (key, token) = (dead.lease(0).window().key(), dead.lease(0).token());
    drop(dead);
    let next = Replica::new(&plan(100), store.clone(), &clock);
    // Long after every lease has run out.
    for _ in 0..5 {
        served += next.drain(&operation(1, 1, None)).await;
        pass(&[&next], 600).await;
    }
    assert!((31..100).contains(&served), "{served}");
    // What its journal proves spent is settled; then the rest can't have been spent.
    let batch = BatchId {
        replica: holder.replica,
        epoch: holder.epoch,
        number: 1,
    };
    let spent = Settlement {
        key,
        plan: PlanId::from_static("free"),
        limit: Some(Units::new(100)),
        lease: token,
        units: Units::new(30),
    };
    store.settle(holder, batch, &[spent], clock.now()).await.unwrap();
    let next_run = Holder { epoch: 2, ..holder };
    store.close_earlier(next_run, clock.now()).await.unwrap();
    pass(&[&next], 2).await;
    served += next.drain(&operation(1, 1, None)).await;
    assert_eq!(served, 100);
}

#[tokio::test]
async fn a_store_that_fails_is_not_asked_by_every_request() {
    let (store, clock) = (FlakyStore::new(MemoryStore::new()), clock());
    let replica = Replica::new(&plan(100_000), store.clone(), &clock);
    // Enough is leased, but it is time for more.
    for _ in 0..200 {
        assert!(replica.serve(&operation(1, 1, None)).await);
        settle_down().await;
    }
    store.fail_every(StoreCall::Lease, StoreErrorKind::Unavailable);
    let before = store.calls().of(StoreCall::Lease);
    let mut served = 0;
    while let Decision::Allowed(..) = replica.decide(&operation(1, 1, None)) {
        served += 1;
        settle_down().await;
    }
    let asked = store.calls().of(StoreCall::Lease) - before;
    assert!(
        served > 20 && asked <= 2,
        "asked {asked} times by {served} requests"
    );
    store.recover();
    replica.clock.advance(Duration::from_secs(2));
    assert!(replica.serve(&operation(1, 1, None)).await);
}
