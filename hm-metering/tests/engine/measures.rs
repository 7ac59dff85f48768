//! What is counted for operators.

use std::collections::BTreeMap;
use std::time::Duration;

use hm_metering::testing::StoreCall;
use hm_metering::usage::{Journal, Outcome, WhenFull};
use hm_metering::{Finished, Hooks, OnUnavailable, StoreErrorKind};
use http_body_util::BodyExt;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

/// Where the names are listed for operators.
const DOCUMENTED: &str = include_str!("../../../docs/src/operations.md");

struct Panics;

impl Hooks for Panics {
    fn finished(&self, _: &Finished<'_>) {
        panic!("a mistake in finishing");
    }
}

/// By name and labels: the value of a counter or gauge, or how many values a histogram has.
pub fn values(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let snapshot = snapshotter.snapshot().into_vec();
    let entries = snapshot.into_iter().map(|(key, _, _, value)| {
        let (_, key) = key.into_parts();
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        (format!("{}{{{}}}", key.name(), labels.join(",")), value)
    });
    entries.collect()
}

async fn send(stage: &Stage, policy: OnUnavailable) -> u16 {
    let layer = stage.meter.layer("facts").on_unavailable(policy);
    let response = layer
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test(start_paused = true)]
async fn requests_refusals_and_background_work_are_counted_without_naming_anybody() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::new(FIVE).await;
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(send(&stage, OnUnavailable::Closed).await, expected);
    }
    let service = stage.meter.layer("facts").layer(handler(facts));
    assert_eq!(
        service
            .oneshot(crate::stage::with_key("nonsense"))
            .await
            .unwrap()
            .status(),
        401
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.events().await.len(), 6);
    let values = values(&snapshotter);
    for (name, expected) in [
        (
            "hm_metering_requests_total{operation=facts,outcome=completed}",
            5.0,
        ),
        ("hm_metering_requests_total{operation=facts,outcome=refused}", 2.0),
        (
            "hm_metering_refusals_total{operation=facts,code=quota_exceeded}",
            1.0,
        ),
        (
            "hm_metering_refusals_total{operation=facts,code=invalid_api_key}",
            1.0,
        ),
        ("hm_metering_response_seconds{operation=facts}", 5.0),
        ("hm_metering_fills_total{result=accepted}", 1.0),
        ("hm_metering_batch_events_total{sink=ledger}", 6.0),
        ("hm_metering_events_lost_total{}", 0.0),
        ("hm_metering_feed_lag_seconds{}", 0.0),
        ("hm_metering_journal_room_ratio{}", 1.0),
    ] {
        assert_eq!(values.get(name), Some(&expected), "{name} {values:#?}");
    }
    assert!(values["hm_metering_leases_total{result=granted}"] >= 1.0);
    assert!(values["hm_metering_batches_total{sink=ledger,result=recorded}"] >= 1.0);
    let (account, key) = (stage.account.to_string(), stage.key_id.to_string());
    for name in values.keys() {
        assert!(
            !name.contains(&account) && !name.contains(&key) && !name.contains("hm_live"),
            "{name}"
        );
    }
    check_documented(&values);
}

#[tokio::test(start_paused = true)]
async fn failures_fallbacks_losses_and_panics_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.hooks(Panics)).await;
    for call in [StoreCall::Lease, StoreCall::Balances] {
        stage.flaky.fail_every(call, StoreErrorKind::Unavailable);
    }
    let at_most = Duration::from_secs(60);
    assert_eq!(send(&stage, OnUnavailable::Open { at_most }).await, 200);
    assert_eq!(send(&stage, OnUnavailable::Safe { units: 1 }).await, 200);
    assert_eq!(send(&stage, OnUnavailable::Closed).await, 503);
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    assert!(!stage.meter.flush(Duration::from_secs(5)).await);
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Conflict);
    stage.meter.flush(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let values = values(&snapshotter);
    for (name, expected) in [
        ("hm_metering_fallbacks_total{operation=facts,policy=open}", 1.0),
        ("hm_metering_fallbacks_total{operation=facts,policy=safe}", 1.0),
        ("hm_metering_hook_panics_total{hook=finished}", 2.0),
        ("hm_metering_events_lost_total{}", 3.0),
    ] {
        assert_eq!(values.get(name), Some(&expected), "{name} {values:#?}");
    }
    for name in [
        "hm_metering_leases_total{result=failed}",
        "hm_metering_store_failures_total{call=lease}",
        "hm_metering_store_failures_total{call=record}",
        "hm_metering_batch_retries_total{sink=ledger}",
        "hm_metering_batches_total{sink=ledger,result=refused}",
    ] {
        assert!(
            values.get(name).is_some_and(|count| *count >= 1.0),
            "{name} {values:#?}"
        );
    }
    check_documented(&values);
}

#[tokio::test]
async fn requests_that_are_served_without_room_for_their_events_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::new(directory.path())
        .segment_bytes(65_536)
        .bytes_max(131_072)
        .when_full(WhenFull::Shed);
    let plenty = FIVE
        .replace("limit = 5,", "limit = 1000000,")
        .replace("1000,", "1000000,");
    let stage = Stage::with(&plenty, Vec::new(), |builder| {
        builder
            .journal(journal)
            .flush_interval(Duration::from_secs(3_600))
    })
    .await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    for _ in 0..1_500 {
        assert_eq!(send(&stage, OnUnavailable::Closed).await, 200);
    }
    let sheds = values(&snapshotter)["hm_metering_sheds_total{}"];
    assert!(sheds > 0.0 && sheds < 1_500.0, "{sheds} of 1,500");
    stage.flaky.recover();
    assert_eq!(stage.events().await.len() as f64, 1_500.0 - sheds);
    assert_eq!(stage.meter.events_lost() as f64, sheds);
}

#[tokio::test(start_paused = true)]
async fn refusals_that_are_not_recorded_for_want_of_room_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.queue(64)).await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    for _ in 0..5 {
        assert_eq!(send(&stage, OnUnavailable::Closed).await, 200);
    }
    for _ in 0..2_000 {
        assert_eq!(send(&stage, OnUnavailable::Closed).await, 429);
    }
    let missed = values(&snapshotter)["hm_metering_refusals_missed_total{}"];
    stage.flaky.recover();
    let recorded = stage
        .events()
        .await
        .iter()
        .filter(|event| event.outcome == Outcome::Refused)
        .count();
    assert!(recorded > 0, "half of the room is for refusals");
    assert_eq!(recorded as f64 + missed, 2_000.0);
    assert!(missed > 0.0, "there is no room for 2,000");
    assert_eq!(
        stage.meter.events_lost(),
        0,
        "no request that was served is missing"
    );
}

pub fn check_documented(values: &BTreeMap<String, f64>) {
    for name in values.keys().filter_map(|name| name.split('{').next()) {
        assert!(
            DOCUMENTED.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
}
