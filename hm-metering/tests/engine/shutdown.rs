//! What is left when a meter shuts down.

use std::path::Path;
use std::time::Duration;

use hm_metering::meter::ShutdownReport;
use hm_metering::testing::{StoreCall, TestDisk};
use hm_metering::usage::{Durability, Journal};
use hm_metering::{StoreErrorKind, Units};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, events_of, facts, handler};

const LONG: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

fn plans() -> String {
    FIVE.replace("limit = 5,", "limit = 1000,")
}

/// Files of 64 KiB, two of them ready.
fn small(directory: &Path) -> Journal {
    Journal::new(directory).segment_bytes(65_536).bytes_ready(131_072)
}

async fn serve(stage: &Stage, requests: usize) {
    for number in 0..requests {
        let service = stage.meter.layer("facts").layer(handler(facts));
        let response = service.oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), 200, "request {number}");
        response.into_body().collect().await.unwrap();
    }
}

fn is_down(stage: &Stage, calls: &[StoreCall]) {
    for call in calls {
        stage.flaky.fail_every(*call, StoreErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn nothing_is_left_where_everything_got_done() {
    let stage = Stage::new(&plans()).await;
    serve(&stage, 9).await;
    let expected = ShutdownReport {
        recorded: true,
        released: true,
        events_left: 0,
        units_left: Units::ZERO,
    };
    assert_eq!(stage.meter.shutdown(SECOND).await, expected);
    assert_eq!(stage.meter.shutdown(SECOND).await, expected, "nor is it later");
}

#[tokio::test]
async fn a_report_counts_the_events_and_units_that_are_left() {
    let directory = tempfile::tempdir().unwrap();
    for has_journal in [false, true] {
        let journal = small(directory.path());
        let stage = Stage::with(&plans(), Vec::new(), |builder| {
            let builder = builder.flush_interval(LONG);
            if has_journal {
                builder.journal(journal)
            } else {
                builder
            }
        })
        .await;
        serve(&stage, 4).await;
        assert!(stage.meter.flush(SECOND).await);
        is_down(&stage, &[StoreCall::Record, StoreCall::Release]);
        serve(&stage, 9).await;
        let report = stage.meter.shutdown(SECOND).await;
        assert!(!report.recorded && !report.released, "{report:?}");
        assert_eq!(report.events_left, 9);
        // Of what is leased, the units of the nine are spent.
        let leased = stage.balance().await.leased.get();
        assert_eq!(report.units_left.get(), leased - 9);
        assert!(leased > 9, "more was leased than was spent");
    }
}

#[tokio::test]
async fn what_an_earlier_run_left_counts_as_well() {
    let mut directory = tempfile::tempdir().unwrap();
    let mut left = 0;
    for requests in [3, 4] {
        let journal = small(directory.path());
        let stage = Stage::with(&plans(), Vec::new(), |builder| {
            builder.journal(journal).flush_interval(LONG)
        })
        .await;
        is_down(&stage, &[StoreCall::Record]);
        serve(&stage, requests).await;
        left += requests as u64;
        let report = stage.meter.shutdown(SECOND).await;
        assert_eq!((report.recorded, report.events_left), (false, left));
        directory = crate::journal::killed(directory.path());
    }
}

#[tokio::test]
async fn what_is_left_at_the_end_survives_a_loss_of_power_if_it_has_to() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let journal = small(directory.path())
        .durability(Durability::Power(LONG))
        .disk(&disk);
    let stage = Stage::with(&plans(), Vec::new(), |builder| {
        builder.journal(journal).flush_interval(LONG)
    })
    .await;
    is_down(&stage, &[StoreCall::Record]);
    serve(&stage, 5).await;
    assert_eq!(stage.meter.shutdown(SECOND).await.events_left, 5);
    let found = tempfile::tempdir().unwrap();
    disk.after_power_cut(found.path()).unwrap();
    let other = Stage::new(&plans()).await;
    let next = other
        .builder(&plans())
        .journal(found.path())
        .start()
        .await
        .unwrap();
    assert!(next.flush(SECOND * 5).await);
    assert_eq!(events_of(&other.store, stage.account).await.len(), 5);
}
