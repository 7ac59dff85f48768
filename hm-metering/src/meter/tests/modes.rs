//! What becomes of requests that a quota has no room for.

use super::replica::{Replica, clock, operation, pass};
use crate::memory::MemoryStore;
use crate::meter::decide::Decision;
use crate::meter::report::standing::report_with;
use crate::quota::QuotaStore;
use crate::units::Units;

fn plan(limit: u64, mode: &str) -> String {
    format!("quotas = [{{ meter = 'requests', limit = {limit}, period = 'day', mode = {mode} }}]")
}

#[tokio::test]
async fn a_soft_quota_lets_through_and_marks_exactly_what_is_over() {
    let replica = Replica::new(&plan(10, "'soft'"), MemoryStore::new(), &clock());
    let mut over = Vec::new();
    for _ in 0..13 {
        let holds = replica.attempt(&operation(1, 1, None)).await.unwrap();
        assert_eq!(holds.would_refuse(), None);
        over.push(holds.is_over());
    }
    assert_eq!(over, [[false; 10].as_slice(), &[true; 3]].concat());
    assert!(replica.attempt(&operation(1, 11, None)).await.unwrap().is_over());
    assert!(replica.attempt(&operation(1, 0, None)).await.unwrap().is_over());
}

#[tokio::test]
async fn a_shadow_quota_says_what_strict_would_have_done() {
    let store = MemoryStore::new();
    let replica = Replica::new(&plan(10, "'shadow'"), store.clone(), &clock());
    let strict = Replica::new(&plan(10, "'strict'"), MemoryStore::new(), &clock());
    for units in [3, 3, 3, 3, 1, 1, 11, 0] {
        let operation = operation(1, units, None);
        let would = replica.attempt(&operation).await.unwrap().would_refuse();
        let refused = strict.attempt(&operation).await.err();
        assert_eq!(would, refused.map(|refusal| refusal.code()), "{units} units");
    }
    let key = replica.lease(0).window().key();
    assert!(replica.book.give_all_back().await == 0);
    let leased = store.balances(&[key]).await.unwrap()[0].leased;
    assert_eq!(leased, Units::new(10), "what is beyond the limit is not leased");
}

#[tokio::test]
async fn what_is_over_is_shown_as_nothing_left() {
    let replica = Replica::new(&plan(2, "'soft'"), MemoryStore::new(), &clock());
    for used in 1..=4_u64 {
        assert!(replica.serve(&operation(1, 1, None)).await);
        let Decision::Allowed(holds) = replica.decide(&operation(1, 0, None)) else {
            panic!("a soft quota refused");
        };
        let report = report_with(&replica.account, &holds, |_| Units::ZERO, replica.now());
        let quota = report.quota().unwrap();
        assert_eq!(
            (quota.used.get(), quota.remaining()),
            (used, Some(Units::new(2_u64.saturating_sub(used))))
        );
    }
}

#[tokio::test]
async fn a_balanced_quota_goes_over_by_no_more_than_it_says() {
    let (store, clock) = (MemoryStore::new(), clock());
    let plan = plan(100, "{ balanced = 20 }");
    let replicas: Vec<_> = (0..4)
        .map(|_| Replica::new(&plan, store.clone(), &clock))
        .collect();
    // None of them hears of the others in time, as they settle nothing.
    let mut served = 0;
    for _ in 0..10 {
        for replica in &replicas {
            served += replica.drain(&operation(1, 1, None)).await;
        }
        let all: Vec<_> = replicas.iter().collect();
        pass(&all, 15).await;
    }
    assert_eq!(served, 120);
}

#[tokio::test]
async fn a_balanced_quota_on_one_replica_ends_at_its_limit() {
    let replica = Replica::new(&plan(100, "{ balanced = 20 }"), MemoryStore::new(), &clock());
    assert_eq!(replica.drain(&operation(1, 1, None)).await, 100);
    assert!(
        replica.lease(0).window().remaining() > Units::ZERO,
        "its lease is larger"
    );
}
