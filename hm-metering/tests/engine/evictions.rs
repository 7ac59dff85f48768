//! Callers that have to make way in memory: how much room they take, and what is lost with them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hm_metering::testing::{StoreCall, TestKey};
use hm_metering::{ConfigError, DecisionTrace, Meter, PlanId};
use http::Response;
use http_body_util::Full;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, until, with_key};

/// More requests than any test here sends.
const MANY: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 1000, period = "anchored_month" }]
"#;
const FREE: PlanId = PlanId::from_static("free");
const PRO: PlanId = PlanId::from_static("pro");
const ONE_AT_A_TIME: &str = r#"
    [free]
    concurrency = [{ name = "concurrent", limit = 1 }]
    rates = [{ name = "second", limit = 1000, per_seconds = 1 }]
    [pro]
    concurrency = [{ name = "concurrent", limit = 1 }]
    rates = [{ name = "second", limit = 2000, per_seconds = 1 }]
"#;

async fn status(meter: &Meter, key: &str) -> u16 {
    let service = meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(with_key(key)).await.unwrap();
    response.status().as_u16()
}

/// A key of another account.
async fn another(stage: &Stage, scopes: usize) -> TestKey {
    let scopes = (0..scopes).map(|scope| format!("{scope:040}")).collect();
    stage
        .keys
        .issue_with(FREE, stage.now(), |key| key.scopes = scopes)
        .await
}

/// How many look-ups it takes to serve these keys twice, one after the other.
async fn look_ups(stage: &Stage, keys: &[TestKey]) -> u64 {
    let before = stage.flaky.calls();
    for key in keys.iter().chain(keys) {
        assert_eq!(status(&stage.meter, key.text()).await, 200);
    }
    stage.flaky.calls().since(&before).of(StoreCall::FindByDigest)
}

#[tokio::test]
async fn keys_with_many_scopes_are_kept_as_far_as_their_bytes_allow() {
    let stage = Stage::with(MANY, Vec::new(), |builder| builder.callers_bytes_max(50_000)).await;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        small.push(another(&stage, 0).await);
    }
    for _ in 0..5 {
        large.push(another(&stage, 200).await);
    }
    assert_eq!(look_ups(&stage, &small).await, 60, "all of them fit");
    let of_large = look_ups(&stage, &large).await;
    assert!((6..=10).contains(&of_large), "{of_large} look-ups for five keys");
    assert!(look_ups(&stage, &small).await > 0, "they had to make way");
    let mut rounds = 0;
    while look_ups(&stage, &small).await > 0 {
        rounds += 1;
        assert!(rounds < 10, "they don't get their room back");
    }
}

#[tokio::test]
async fn a_key_with_more_scopes_than_a_key_may_have_is_not_accepted_and_seldom_looked_up() {
    let stage = Stage::new(FIVE).await;
    // So many of 40 letters.
    let (most, more) = (another(&stage, 900).await, another(&stage, 10_000).await);
    assert_eq!(status(&stage.meter, most.text()).await, 200);
    let before = stage.flaky.calls();
    for _ in 0..50 {
        let service = stage.meter.layer("facts").layer(handler(facts));
        let response = service.oneshot(with_key(more.text())).await.unwrap();
        assert_eq!(response.status(), 401);
        let trace = response.extensions().get::<DecisionTrace>().unwrap();
        let trace = serde_json::to_string(trace).unwrap();
        assert!(trace.contains("too_many_scopes"), "{trace}");
    }
    assert_eq!(stage.flaky.calls().since(&before).of(StoreCall::FindByDigest), 1);
    stage.clock.advance(Duration::from_secs(2));
    assert_eq!(status(&stage.meter, more.text()).await, 401);
    assert_eq!(stage.flaky.calls().since(&before).of(StoreCall::FindByDigest), 2);
}

#[tokio::test]
async fn a_meter_without_room_for_callers_does_not_start() {
    let stage = Stage::new(FIVE).await;
    let started = stage.builder(FIVE).callers_bytes_max(0).start().await;
    assert!(matches!(started, Err(ConfigError::Zero("callers_bytes_max"))));
}

#[tokio::test]
async fn requests_under_way_keep_their_slots_when_their_caller_makes_way() {
    for moves in [false, true] {
        let stage = Stage::with(ONE_AT_A_TIME, Vec::new(), |builder| builder.callers(1)).await;
        let pending = handler(|_| std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>());
        let calls = std::sync::Arc::clone(&pending.calls);
        let held = tokio::spawn(stage.meter.layer("facts").layer(pending).oneshot(stage.request()));
        until(|| calls.load(Ordering::Relaxed) == 1).await;
        if moves {
            assert!(stage.store.set_plan(stage.account, PRO));
            stage.meter.forget_account(stage.account);
            assert_eq!(status(&stage.meter, stage.key.expose()).await, 429);
        }
        for _ in 0..3 {
            let other = another(&stage, 0).await;
            assert_eq!(status(&stage.meter, other.text()).await, 200);
            assert_eq!(status(&stage.meter, stage.key.expose()).await, 429, "{moves}");
        }
        held.abort();
        assert!(held.await.is_err());
        assert_eq!(status(&stage.meter, stage.key.expose()).await, 200);
    }
}
