//! A journal that has to survive a loss of power: what is forced to the disk, and a disk that does not take it.

use std::path::Path;
use std::time::Duration;

use hm_metering::testing::{StoreCall, TestDisk};
use hm_metering::usage::{Durability, Event, Journal, WhenFull};
use hm_metering::{Meter, StoreErrorKind, SystemClock};
use http::Response;
use http_body_util::BodyExt;
use metrics_util::debugging::DebuggingRecorder;
use tower::{Layer, ServiceExt};

use crate::measures::values;
use crate::stage::{FIVE, Stage, events_of, facts, handler};

const LONG: Duration = Duration::from_secs(3_600);
const INTERVAL: Duration = Duration::from_millis(100);

fn plans() -> String {
    FIVE.replace("limit = 5,", "limit = 1000000,")
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds")
}

fn journal(directory: &Path, disk: &TestDisk) -> Journal {
    Journal::new(directory)
        .segment_bytes(65_536)
        .bytes_max(1_048_576)
        .durability(Durability::Power(INTERVAL))
        .disk(disk)
}

/// A stage whose meter has that journal, and a ledger that takes nothing.
async fn stage(journal: Journal) -> Stage {
    let stage = Stage::with(&plans(), Vec::new(), |builder| {
        builder.journal(journal).flush_interval(LONG)
    })
    .await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    stage
}

async fn send(stage: &Stage, meter: &Meter) -> Response<()> {
    let service = meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let (parts, body) = response.into_parts();
    body.collect().await.unwrap();
    Response::from_parts(parts, ())
}

async fn serve(stage: &Stage, requests: usize) {
    for number in 0..requests {
        assert_eq!(send(stage, &stage.meter).await.status(), 200, "request {number}");
    }
}

/// Lets this much time pass, and the background do what it has to.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// What the next run finds when the power is cut now.
async fn found_after_power_cut(stage: &Stage, disk: &TestDisk) -> Vec<Event> {
    let left = tempfile::tempdir().unwrap();
    disk.after_power_cut(left.path()).unwrap();
    let other = Stage::new(&plans()).await;
    let next = other
        .builder(&plans())
        .journal(left.path())
        .start()
        .await
        .unwrap();
    assert!(next.flush(Duration::from_secs(5)).await);
    assert_eq!(next.events_lost(), 0);
    events_of(&other.store, stage.account).await
}

#[tokio::test(start_paused = true)]
async fn what_was_finished_an_interval_ago_survives_a_power_cut() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let stage = stage(journal(directory.path(), &disk)).await;
    // More than a file of events, so that names of files have to be forced as well.
    let mut served = 0;
    for _ in 0..4 {
        serve(&stage, 100).await;
        served += 100;
        pass(INTERVAL * 2).await;
        assert_eq!(found_after_power_cut(&stage, &disk).await.len(), served);
    }
    serve(&stage, 7).await;
    let found = found_after_power_cut(&stage, &disk).await.len();
    assert_eq!(found, served, "the last interval is missing");
    pass(INTERVAL * 2).await;
    assert_eq!(found_after_power_cut(&stage, &disk).await.len(), served + 7);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_forced_to_the_disk_that_only_has_to_survive_the_process() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let stage = stage(journal(directory.path(), &disk).durability(Durability::Process)).await;
    pass(INTERVAL).await;
    let before = disk.forced();
    serve(&stage, 10).await;
    pass(INTERVAL * 20).await;
    assert_eq!(disk.forced(), before);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_gets_requests_refused_until_it_works_again() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let stage = stage(journal(directory.path(), &disk)).await;
    serve(&stage, 3).await;
    pass(INTERVAL * 2).await;
    disk.fail();
    serve(&stage, 2).await;
    pass(INTERVAL * 2).await;
    let before = stage.balance().await;
    let refused = send(&stage, &stage.meter).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(stage.balance().await, before, "it takes no units");
    let failures = "hm_metering_journal_sync_failures_total{file=events}";
    assert!(values(&snapshotter)[failures] >= 1.0);
    pass(Duration::from_secs(30)).await;
    let tries = values(&snapshotter)[failures];
    assert!(
        (10.0..=400.0).contains(&tries),
        "tried {tries} times in half a minute"
    );
    assert_eq!(
        send(&stage, &stage.meter).await.status(),
        503,
        "nothing has changed"
    );

    disk.recover();
    pass(Duration::from_secs(2)).await;
    serve(&stage, 4).await;
    pass(INTERVAL * 2).await;
    assert_eq!(found_after_power_cut(&stage, &disk).await.len(), 3 + 2 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_sheds_serves_on_a_disk_that_fails_and_loses_nothing_while_there_is_power() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let journal = journal(directory.path(), &disk).when_full(WhenFull::Shed);
    let stage = stage(journal).await;
    disk.fail();
    serve(&stage, 5).await;
    pass(INTERVAL * 2).await;
    serve(&stage, 5).await;
    stage.flaky.recover();
    assert_eq!(stage.events().await.len(), 10);
    assert_eq!(stage.meter.events_lost(), 0);
}

#[tokio::test]
async fn a_shutdown_that_nobody_answers_has_time_for_the_disk() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let journal = journal(directory.path(), &disk).durability(Durability::Power(LONG));
    let stage = Stage::with(&plans(), Vec::new(), |builder| {
        builder
            .journal(journal)
            .flush_interval(LONG)
            .clock(SystemClock::new())
    })
    .await;
    serve(&stage, 3).await;
    stage.flaky.hang();
    let report = stage.meter.shutdown(Duration::from_millis(800)).await;
    assert!(!report.recorded && !report.released, "{report:?}");
    assert_eq!(report.events_left, 3);
    assert_eq!(found_after_power_cut(&stage, &disk).await.len(), 3);
    let failures = "hm_metering_journal_sync_failures_total{file=events}";
    assert_eq!(values(&snapshotter).get(failures), None);
}

#[tokio::test(start_paused = true)]
async fn progress_that_can_t_be_forced_to_the_disk_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let stage = stage(journal(directory.path(), &disk).durability(Durability::Power(LONG))).await;
    serve(&stage, 1).await;
    disk.fail();
    stage.flaky.recover();
    assert_eq!(stage.events().await.len(), 1, "the ledger gets it all the same");
    let counted = values(&snapshotter)["hm_metering_journal_sync_failures_total{file=progress}"];
    assert!(counted >= 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_nothing_is_a_short_one_and_an_endless_one_a_long_one() {
    for (interval, least, most) in [(Duration::ZERO, 5, 60), (Duration::MAX, 0, 0)] {
        let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
        let stage = stage(journal(directory.path(), &disk).durability(Durability::Power(interval))).await;
        serve(&stage, 3).await;
        let before = disk.forced();
        pass(Duration::from_millis(20)).await;
        let times = disk.forced() - before;
        assert!(
            (least..=most).contains(&times),
            "{interval:?}: {times} times in 20 ms"
        );
        serve(&stage, 3).await;
    }
}
