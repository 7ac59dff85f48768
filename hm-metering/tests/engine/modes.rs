//! Concurrency limits, rate costs and quota modes through the layer.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use hm_metering::{Charge, Units};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, until};

const ONE_AT_A_TIME: &str = r#"
    [free]
    concurrency = [{ name = "concurrent", limit = 1 }]
    quotas = [{ meter = "requests", limit = 100, period = "anchored_month" }]
"#;

async fn status(stage: &Stage) -> u16 {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test]
async fn a_request_beside_too_many_others_is_refused_and_takes_nothing() {
    let stage = Stage::new(ONE_AT_A_TIME).await;
    let pending = handler(|_| std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>());
    let calls = std::sync::Arc::clone(&pending.calls);
    let held = tokio::spawn(stage.meter.layer("facts").layer(pending).oneshot(stage.request()));
    until(|| calls.load(Ordering::Relaxed) == 1).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    let refused = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["code"], "too_many_concurrent_requests");
    assert_eq!(body["violated-policies"], serde_json::json!(["concurrent"]));
    held.abort();
    assert!(held.await.is_err());
    assert_eq!(status(&stage).await, 200);
}

#[tokio::test]
async fn every_ending_gives_the_slot_back() {
    let stage = Stage::new(ONE_AT_A_TIME).await;
    let layer = stage.meter.layer("facts");
    assert_eq!(status(&stage).await, 200);

    let failing = handler(|_| async { Err::<Response<Full<Bytes>>, _>(std::io::Error::other("no")) });
    assert!(
        layer
            .clone()
            .layer(failing)
            .oneshot(stage.request())
            .await
            .is_err()
    );
    assert_eq!(status(&stage).await, 200, "after an error of the service");

    let panicking = handler(|request: Request<Full<Bytes>>| {
        assert!(request.headers().is_empty(), "the handler panics");
        facts(request)
    });
    let panicked = tokio::spawn(layer.clone().layer(panicking).oneshot(stage.request()));
    assert!(panicked.await.is_err());
    assert_eq!(status(&stage).await, 200, "after a panic");

    let unread = layer.clone().layer(handler(facts)).oneshot(stage.request()).await;
    assert_eq!(status(&stage).await, 429, "while a body is not read");
    drop(unread);
    assert_eq!(status(&stage).await, 200, "after a body that was dropped");

    let never_called = layer.clone().layer(handler(facts)).oneshot(stage.request());
    drop(never_called);
    assert_eq!(status(&stage).await, 200, "after a future that was dropped");

    // A handler may keep its charge for as long as it likes.
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let keeper = std::sync::Arc::clone(&kept);
    let keeping = handler(move |request: Request<Full<Bytes>>| {
        *keeper.lock().unwrap() = request.extensions().get::<Charge>().cloned();
        facts(request)
    });
    let response = layer.layer(keeping).oneshot(stage.request()).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert!(kept.lock().unwrap().is_some());
    assert_eq!(status(&stage).await, 200, "while a handler keeps its charge");
}

#[tokio::test]
async fn a_request_counts_in_its_rate_as_often_as_it_costs() {
    let plans = FIVE.replace("limit = 1000, per_seconds = 1", "limit = 6, per_seconds = 3600");
    let stage = Stage::new(&plans).await;
    let send = async |cost| {
        let service = stage.meter.layer("facts").rate_cost(cost).layer(handler(facts));
        let response = service.oneshot(stage.request()).await.unwrap();
        (
            response.status().as_u16(),
            response.headers().contains_key("retry-after"),
        )
    };
    assert_eq!(send(4).await, (200, false));
    assert_eq!(send(4).await, (429, true), "later");
    assert_eq!(send(7).await, (429, false), "never");
    assert_eq!(send(2).await, (200, false));
    assert_eq!(send(1).await, (429, true));
    assert_eq!(send(0).await, (200, false));
}

#[tokio::test]
async fn what_is_over_a_soft_quota_is_in_the_ledger_and_marked() {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 2, mode = \"soft\",")).await;
    for remaining in ["1", "0", "0", "0"] {
        let service = stage.meter.layer("facts").layer(handler(facts));
        let response = service.oneshot(stage.request()).await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["x-ratelimit-remaining"]
            ),
            (200, &remaining.parse().unwrap())
        );
        response.into_body().collect().await.unwrap();
    }
    let over: Vec<_> = stage.events().await.iter().map(|event| event.over).collect();
    assert_eq!(over, [false, false, true, true]);
    assert_eq!(stage.balance().await.used, Units::new(4));
}

#[tokio::test]
async fn a_shadow_quota_marks_what_it_would_have_refused() {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 2, mode = \"shadow\",")).await;
    for _ in 0..4 {
        assert_eq!(status(&stage).await, 200);
    }
    let events = stage.events().await;
    let would: Vec<_> = events.iter().map(|event| event.would_refuse.as_deref()).collect();
    let code = Some("quota_exceeded");
    assert_eq!(would, [None, None, code, code]);
    assert!(events.iter().all(|event| !event.over));
    assert_eq!(stage.balance().await.used, Units::new(4));
}
