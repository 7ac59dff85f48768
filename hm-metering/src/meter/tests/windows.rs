//! Periods that follow each other, and windows that move with time.

use std::time::Duration;

use super::replica::{Replica, clock, operation, pass};
use crate::memory::MemoryStore;
use crate::meter::decide::Decision;
use crate::name::PlanId;
use crate::quota::{QuotaStore, Settlement};
use crate::testing::TestClock;
use crate::units::Units;
use crate::usage::BatchId;

const HOUR: Duration = Duration::from_secs(3_600);

/// Ten requests in any three hours, by the hour.
const ROLLING: &str = "quotas = [{ meter = 'requests', limit = 10,
    period = { rule = 'rolling', hours = 3, grain_hours = 1 } }]";

/// Settles what the replica was granted in the present period and took.
async fn settle(replica: &Replica, store: &MemoryStore, number: u64, units: u64) {
    let lease = replica.lease(0);
    let holder = replica.holder;
    let batch = BatchId {
        replica: holder.replica,
        epoch: holder.epoch,
        number,
    };
    let spent = Settlement {
        key: lease.window().key(),
        plan: PlanId::from_static("free"),
        limit: None,
        lease: lease.token(),
        units: Units::new(units),
    };
    lease.window().note_submitted(spent.units);
    store
        .settle(holder, batch, &[spent], replica.now().wall)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_rolling_quota_holds_for_every_window_of_its_length() {
    let (store, clock) = (MemoryStore::new(), clock());
    let replica = Replica::new(ROLLING, store.clone(), &clock);
    let one = operation(1, 1, None);
    // It is 13:14:15.
    for _ in 0..6 {
        assert!(replica.serve(&one).await);
    }
    settle(&replica, &store, 1, 6).await;
    clock.advance(HOUR);
    // What is left of the lease of 13:00 goes back.
    pass(&[&replica], 2).await;
    assert_eq!(replica.drain(&one).await, 4);
    // What was used from 13:00 on is three hours old at 16:59:59 at the earliest.
    let Decision::Refused(refusal, report) = replica.decide(&one) else {
        panic!("eleven of ten were served");
    };
    let (limit, quota) = (refusal.limit().unwrap(), report.quota().unwrap());
    assert_eq!(limit.reset.unwrap().to_string(), "2026-11-25T17:00:00Z");
    assert_eq!(quota.reset.since(quota.start), 3 * HOUR);
    assert_eq!((quota.used.get(), quota.remaining()), (10, Some(Units::ZERO)));
    assert_eq!(
        refusal.retry_after().unwrap(),
        Duration::from_secs(2 * 3_600 + 45 * 60 + 43)
    );
    settle(&replica, &store, 2, 4).await;
    clock.advance(refusal.retry_after().unwrap() - Duration::from_secs(2));
    pass(&[&replica], 1).await;
    assert!(!replica.serve(&one).await);
    pass(&[&replica], 1).await;
    assert_eq!(replica.drain(&one).await, 6);
    let Decision::Refused(refusal, _) = replica.decide(&one) else {
        panic!("more than ten were served in three hours");
    };
    let reset = refusal.limit().unwrap().reset.unwrap();
    assert_eq!(
        reset.to_string(),
        "2026-11-25T18:00:00Z",
        "the four of 14:14 leave"
    );
}

#[tokio::test]
async fn a_rolling_quota_is_exact_between_clocks_that_disagree() {
    let store = MemoryStore::new();
    let clocks: Vec<TestClock> = (0..3).map(|_| clock()).collect();
    for (hours, clock) in clocks.iter().enumerate() {
        clock.set(clock_time(clock, hours as u32));
    }
    let replicas: Vec<_> = clocks
        .iter()
        .map(|clock| Replica::new(ROLLING, store.clone(), clock))
        .collect();
    let mut served = 0;
    for _ in 0..4 {
        for replica in &replicas {
            served += u64::from(replica.serve(&operation(1, 1, None)).await);
        }
    }
    for _ in 0..40 {
        for replica in &replicas {
            pass(&[replica], 1).await;
            served += u64::from(replica.serve(&operation(1, 1, None)).await);
        }
    }
    assert_eq!(served, 10);
}

fn clock_time(clock: &TestClock, hours: u32) -> crate::time::Timestamp {
    crate::time::Clock::now(clock).plus(HOUR * hours)
}

#[tokio::test]
async fn a_plan_with_another_period_counts_in_that_period() {
    let (store, clock) = (MemoryStore::new(), clock());
    let plan = |period: &str| format!("quotas = [{{ meter = 'requests', limit = 10, period = '{period}' }}]");
    let mut replica = Replica::new(&plan("day"), store, &clock);
    assert!(replica.serve(&operation(1, 1, None)).await);
    replica.set_plan(&plan("calendar_month"));
    let mut served = replica.drain(&operation(1, 1, None)).await;
    for _ in 0..3 {
        clock.advance(24 * HOUR);
        pass(&[&replica], 1).await;
        served += replica.drain(&operation(1, 1, None)).await;
    }
    assert_eq!(served, 10, "in the month, whatever the days say");
}

#[tokio::test]
async fn each_period_begins_with_the_whole_limit_and_leaves_nothing_leased() {
    let (store, clock) = (MemoryStore::new(), clock());
    let plan = "quotas = [{ meter = 'requests', limit = 50, period = 'hour' }]";
    let replica = Replica::new(plan, store.clone(), &clock);
    for number in 1..=3 {
        let key = replica.lease(0).window().key();
        for _ in 0..20 {
            assert!(replica.serve(&operation(1, 1, None)).await);
        }
        settle(&replica, &store, number, 20).await;
        clock.advance(HOUR);
        pass(&[&replica], 1).await;
        let balance = store.balances(&[key]).await.unwrap()[0];
        assert_eq!((balance.used.get(), balance.leased), (20, Units::ZERO));
    }
}
