//! Room in the journal for requests in flight: files are made as they are needed, up to the most there may be.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hm_metering::layer::MeteredBody;
use hm_metering::usage::{Journal, WhenFull};
use http::Response;
use http_body_util::BodyExt;
use http_body_util::Full;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

/// What a request in flight reserves, and a file of 64 KiB has for records.
const RESERVED: u64 = 7_168;
const FILE: u64 = 65_536;
const USABLE: u64 = FILE - 64 - RESERVED;

/// Two files are ready; there may be sixteen.
fn journal(directory: &Path) -> Journal {
    Journal::new(directory)
        .segment_bytes(FILE)
        .bytes_ready(2 * FILE)
        .bytes_max(16 * FILE)
        .when_full(WhenFull::Refuse)
}

async fn stage(directory: &Path) -> Stage {
    let plans = FIVE
        .replace("limit = 5,", "limit = 1000000,")
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds");
    let journal = journal(directory);
    Stage::with(&plans, Vec::new(), |builder| builder.journal(journal)).await
}

/// A response that has begun and is not read: its request is in flight.
async fn begin(stage: &Stage) -> Response<MeteredBody<Full<Bytes>>> {
    let service = stage.meter.layer("facts").layer(handler(facts));
    service.oneshot(stage.request()).await.unwrap()
}

/// Lets the background do what it has to. This clock moves when nothing is left to do there.
async fn settle_down() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn files(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap();
    let of_records = files.filter(|file| {
        let path = file.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "hmj1")
    });
    of_records.count() as u64
}

#[tokio::test(start_paused = true)]
async fn more_requests_are_in_flight_than_files_are_ready_for_and_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let stage = stage(directory.path()).await;
    settle_down().await;
    assert_eq!(
        files(directory.path()),
        1,
        "one is ready, the first one is made by the first event"
    );
    let fit = 16 * (USABLE / RESERVED);
    let mut in_flight = Vec::new();
    for number in 0..fit {
        let response = begin(&stage).await;
        assert_eq!(response.status(), 200, "request {number} of {fit}");
        in_flight.push(response);
        settle_down().await;
    }
    assert_eq!(files(directory.path()), 16);
    while in_flight.len() < 1_000 {
        let response = begin(&stage).await;
        if response.status() == 503 {
            break;
        }
        in_flight.push(response);
        settle_down().await;
    }
    assert!(
        in_flight.len() as u64 <= 16 * USABLE / RESERVED,
        "{} are promised room that there is not",
        in_flight.len()
    );
    let served = in_flight.len();
    for response in in_flight {
        response.into_body().collect().await.unwrap();
    }
    let events = stage.events().await;
    assert_eq!(
        events.iter().filter(|event| event.status == 200).count(),
        served,
        "each has its event"
    );
    assert_eq!(stage.meter.events_lost(), 0);
    assert_eq!(begin(&stage).await.status(), 200, "and there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_few_are_in_flight_of_stays_as_small_as_it_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let stage = stage(directory.path()).await;
    for _ in 0..1_000 {
        begin(&stage).await.into_body().collect().await.unwrap();
        assert!(stage.meter.flush(Duration::from_secs(5)).await);
        settle_down().await;
        assert!(files(directory.path()) <= 3, "{} files", files(directory.path()));
    }
}
