//! Quotas of keys over several processes, after kills, and while the store is silent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hm_metering::period::PeriodRule;
use hm_metering::plan::Quota;
use hm_metering::testing::StoreCall;
use hm_metering::usage::Journal;
use hm_metering::{MeterName, StoreErrorKind, Units};

use super::{of_key, plan, quotas, send, shut_down, stage, used};
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_connections_to_two_meters_get_exactly_the_keys_quota() {
    const LIMIT: u64 = 100;
    let plans = plan(10_000);
    let stage = Arc::new(stage(&plans, Quota::per_day(LIMIT)).await);
    let second = stage.second_meter(&plans).await;
    let mut tasks = Vec::new();
    for number in 0..64 {
        let (stage, meter) = (Arc::clone(&stage), [&stage.meter, &second][number % 2].clone());
        tasks.push(tokio::spawn(async move {
            let mut served = 0;
            for _ in 0..8 {
                let told = send(meter.layer("facts"), stage.request()).await;
                served += u64::from(told.status == 200);
                assert!(matches!(told.status, 200 | 429));
            }
            served
        }));
    }
    let mut served = 0;
    for task in tasks {
        served += task.await.unwrap();
    }
    // What one meter still holds when nothing is left for the other is not stranded.
    stage.clock.advance(Duration::from_secs(2));
    while send(stage.meter.layer("facts"), stage.request()).await.status == 200 {
        served += 1;
    }
    shut_down(&stage.meter).await;
    while send(second.layer("facts"), stage.request()).await.status == 200 {
        served += 1;
        stage.clock.advance(Duration::from_secs(2));
    }
    shut_down(&second).await;
    let counter = of_key(&stage, stage.key_id, &MeterName::REQUESTS, PeriodRule::Day).await;
    assert_eq!((served, used(counter)), (LIMIT, (LIMIT, 0)));
    assert_eq!(used(stage.balance().await), (LIMIT, 0));
}

fn journal(directory: &Path) -> Journal {
    Journal::new(directory)
        .segment_bytes(65_536)
        .bytes_max(1_048_576)
        .bytes_ready(1_048_576)
}

#[tokio::test]
async fn what_a_killed_process_let_through_is_counted_for_the_key_once() {
    const LONG: Duration = Duration::from_secs(3_600);
    let directory = tempfile::tempdir().unwrap();
    let stage = Stage::build(
        &plan(100),
        |key, _| key.quotas = quotas([Quota::per_day(10)]),
        |builder| builder.journal(journal(directory.path())).flush_interval(LONG),
    )
    .await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    for _ in 0..7 {
        assert_eq!(
            send(stage.meter.layer("facts"), stage.request()).await.status,
            200
        );
    }
    // As `kill -9` leaves it: nothing of the process gets a chance to tidy up.
    let left = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), left.path().join(entry.file_name())).unwrap();
    }
    let counter = async || of_key(&stage, stage.key_id, &MeterName::REQUESTS, PeriodRule::Day).await;
    assert_eq!(counter().await.used, Units::ZERO);
    stage.flaky.recover();
    let builder = stage.builder(&plan(100)).journal(journal(left.path()));
    let next = builder.start().await.unwrap();
    assert!(next.flush(Duration::from_secs(5)).await);
    assert_eq!(counter().await.used.get(), 7);
    assert_eq!(stage.balance().await.used.get(), 7);
    // What the dead run had leased has come back, and no more.
    assert_eq!(counter().await.leased, Units::ZERO);
    for expected in [200, 200, 200, 429] {
        assert_eq!(send(next.layer("facts"), stage.request()).await.status, expected);
    }
    shut_down(&next).await;
    assert_eq!(used(counter().await), (10, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_key_that_is_idle_goes_back() {
    let stage = stage(&plan(100_000), Quota::per_day(1_000)).await;
    assert_eq!(
        send(stage.meter.layer("facts"), stage.request()).await.status,
        200
    );
    let counter = async || of_key(&stage, stage.key_id, &MeterName::REQUESTS, PeriodRule::Day).await;
    assert!(!counter().await.leased.is_zero());
    for _ in 0..10 {
        stage.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(used(counter().await), (1, 0));
}

#[tokio::test]
async fn where_the_store_is_silent_a_keys_quota_refuses_with_503() {
    let stage = stage(&plan(100), Quota::per_day(2)).await;
    stage
        .flaky
        .fail_every(StoreCall::Lease, StoreErrorKind::Unavailable);
    assert_eq!(
        send(stage.meter.layer("facts"), stage.request()).await.status,
        503
    );
    stage.flaky.recover();
    stage.clock.advance(Duration::from_secs(5));
    for expected in [200, 200, 429] {
        assert_eq!(
            send(stage.meter.layer("facts"), stage.request()).await.status,
            expected
        );
    }
}
