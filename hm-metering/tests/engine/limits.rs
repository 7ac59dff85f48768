//! Rates and quotas through the layer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hm_metering::usage::Outcome;
use hm_metering::{
    DecisionTrace, HeaderDraft, HeaderStyle, MeterName, Plan, PlanSource, Principal, Quota, RateLimit,
    ResetFormat, StoreResult, Units, UsageStore,
};
use http::Response;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

async fn body(
    response: Response<impl http_body::Body<Data = Bytes, Error: std::fmt::Debug>>,
) -> serde_json::Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn the_sixth_request_of_five_is_refused_recorded_and_not_charged() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for used in 1..=5 {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-ratelimit-used"], used.to_string());
        assert_eq!(response.headers()["x-ratelimit-limit"], "5");
    }
    let refused = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["x-ratelimit-remaining"], "0");
    assert!(
        refused.headers()["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"month\";r=0;t=")
    );
    let reset = refused.headers()["x-ratelimit-reset"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = body(refused).await;
    assert_eq!(
        (&body["code"], &body["violated-policies"]),
        (&"quota_exceeded".into(), &serde_json::json!(["month"]))
    );
    assert_eq!(body["resetDate"], format!("{reset}T00:00:00Z"));
    let events = stage.events().await;
    assert_eq!(events.len(), 6);
    assert_eq!((events[5].outcome, events[5].status), (Outcome::Refused, 429));
    assert_eq!(events[5].refusal.as_deref(), Some("quota_exceeded"));
    assert!(events[5].units.is_empty());
    assert_eq!(stage.balance().await.used, Units::new(5));
}

#[tokio::test]
async fn a_request_that_takes_more_than_the_whole_quota_is_told_not_to_wait() {
    let stage = Stage::new(FIVE).await;
    let response = stage
        .meter
        .layer("facts")
        .cost(6)
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["x-ratelimit-remaining"], "5");
    let problem = body(response).await;
    assert_eq!(problem["code"], "cost_exceeds_limit");
    assert_eq!(problem["violated-policies"], serde_json::json!(["month"]));
    let service = stage.meter.layer("facts").cost(3).layer(handler(facts));
    assert_eq!(
        service.clone().oneshot(stage.request()).await.unwrap().status(),
        200
    );
    let response = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["x-ratelimit-remaining"], "2");
    let small = stage.meter.layer("facts").cost(2).layer(handler(facts));
    assert_eq!(small.oneshot(stage.request()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn every_rate_that_refuses_is_named() {
    let stage = Stage::new(
        r#"
        [free]
        rates = [
            { name = "minute", limit = 2, per_seconds = 60 },
            { name = "hour", limit = 2, per_seconds = 3600 },
            { name = "day", limit = 900, per_seconds = 86400 },
        ]
        quotas = [{ meter = "requests", limit = 500, period = "anchored_month" }]
        "#,
    )
    .await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for _ in 0..2 {
        assert_eq!(
            service.clone().oneshot(stage.request()).await.unwrap().status(),
            200
        );
    }
    let refused = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1800");
    assert_eq!(refused.headers()["ratelimit"], "\"hour\";r=0;t=1800");
    let problem = body(refused).await;
    assert_eq!(
        problem["violated-policies"],
        serde_json::json!(["hour", "minute"])
    );
}

/// Says that one plan holds for everybody, and checks nothing.
struct OnePlan(Arc<Plan>);

#[async_trait::async_trait]
impl PlanSource for OnePlan {
    async fn plan_for(&self, _: &Principal) -> StoreResult<Arc<Plan>> {
        Ok(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn limits_that_a_source_gives_one_name_are_told_apart() {
    let plan = Plan::new("free")
        .rate(RateLimit::per_hour(2))
        .quota(Quota::per_hour(500));
    let source = OnePlan(Arc::new(plan));
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.plans(source)).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for status in [200, 200, 429] {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers()["ratelimit-policy"],
            "\"hour\";q=500;w=3600, \"hour-rate\";q=2;w=3600"
        );
        if status == 429 {
            let trace = response.extensions().get::<DecisionTrace>().unwrap().clone();
            let named: Vec<_> = trace
                .limits()
                .iter()
                .map(|limit| (limit.name, limit.violated, limit.used.map(Units::get)))
                .collect();
            assert_eq!(named, [("hour-rate", true, None), ("hour", false, Some(2))]);
            assert_eq!(body(response).await["violated-policies"][0], "hour-rate");
        }
    }
}

#[tokio::test]
async fn a_meter_writes_the_headers_it_is_told_to() {
    let style = HeaderStyle::NONE
        .with_classic(ResetFormat::DeltaSeconds)
        .with_draft(HeaderDraft::V7);
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.headers(style)).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let headers = response.headers();
    let reset = headers["x-ratelimit-reset"]
        .to_str()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert_eq!(headers["ratelimit-policy"], "5;w=2592000, 1000;w=1");
    assert_eq!(
        headers["ratelimit"],
        format!("limit=5, remaining=4, reset={reset}")
    );
}

#[tokio::test]
async fn a_new_period_is_shown_as_such() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for (reset, seconds) in [("2026-12-25", 2_592_000), ("2027-01-25", 2_678_400)] {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        let headers = response.headers();
        assert_eq!(headers["x-ratelimit-reset"], reset);
        assert_eq!(headers["x-ratelimit-used"], "1");
        assert_eq!(
            headers["ratelimit-policy"],
            format!("\"month\";q=5;w={seconds}, \"second\";q=1000;w=1")
        );
        stage.clock.advance(Duration::from_secs(30 * 86_400));
    }
}

#[tokio::test]
async fn a_burst_over_the_rate_is_refused_and_takes_nothing_of_the_quota() {
    let plans = FIVE.replace("limit = 1000, per_seconds = 1", "limit = 3, per_seconds = 3600");
    let stage = Stage::new(&plans).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for _ in 0..3 {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
    let refused = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (429, &"1200".parse().unwrap())
    );
    assert_eq!(refused.headers()["ratelimit"], "\"second\";r=0;t=1200");
    assert_eq!(refused.headers()["x-ratelimit-used"], "3");
    assert_eq!(body(refused).await["code"], "rate_limited");
    stage.events().await;
    assert_eq!(stage.balance().await.used, Units::new(3));
}

#[tokio::test]
async fn an_unlimited_plan_counts_and_refuses_nothing() {
    let stage = Stage::new(
        "[free]\nquotas = [{ meter = \"requests\", limit = \"unlimited\", period = \"anchored_month\" }]",
    )
    .await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for used in 1..=20 {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        let headers = response.headers();
        assert_eq!(
            (
                response.status().as_u16(),
                headers["x-ratelimit-limit"].to_str().unwrap()
            ),
            (200, "unlimited")
        );
        assert_eq!(
            (&headers["x-ratelimit-remaining"], &headers["x-ratelimit-used"]),
            (&"unlimited".parse().unwrap(), &used.to_string().parse().unwrap())
        );
        response.into_body().collect().await.unwrap();
    }
    stage.events().await;
    let balance = stage.balance().await;
    assert_eq!((balance.used, balance.leased), (Units::new(20), Units::ZERO));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_get_exactly_the_quota() {
    let plans = FIVE
        .replace("limit = 5,", "limit = 1000,")
        .replace("limit = 1000, per_seconds", "limit = 100000, per_seconds");
    let stage = Stage::new(&plans).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let service = service.clone();
            let requests: Vec<_> = (0..20).map(|_| stage.request()).collect();
            tokio::spawn(async move {
                let mut admitted = 0;
                for request in requests {
                    let response = service.clone().oneshot(request).await.unwrap();
                    admitted += u64::from(response.status() == 200);
                    assert!(
                        matches!(response.status().as_u16(), 200 | 429),
                        "{}",
                        response.status()
                    );
                    response.into_body().collect().await.unwrap();
                }
                admitted
            })
        })
        .collect();
    let mut admitted = 0;
    for client in clients {
        admitted += client.await.unwrap();
    }
    assert_eq!(admitted, 1_000);
    assert!(stage.meter.flush(Duration::from_secs(5)).await);
    let query = hm_metering::usage::UsageQuery::new(
        stage.account,
        hm_metering::Timestamp::MIN,
        hm_metering::Timestamp::MAX,
    );
    let totals = stage.store.totals(&query).await.unwrap();
    assert_eq!((totals.requests, totals.refused), (64 * 20, 64 * 20 - 1_000));
    assert_eq!(totals.units[&MeterName::REQUESTS], Units::new(1_000));
    assert_eq!(stage.balance().await.used, Units::new(1_000));
}

#[tokio::test]
async fn a_plan_that_grows_helps_at_once_and_keeps_what_was_used() {
    let plans = format!(
        "{FIVE}\n[pro]\nquotas = [{{ meter = \"requests\", limit = 7, period = \"anchored_month\" }}]"
    );
    let stage = Stage::new(&plans).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    let mut statuses = Vec::new();
    for number in 0..9 {
        if number == 6 {
            stage
                .store
                .set_plan(stage.account, hm_metering::PlanId::from_static("pro"));
            stage.meter.forget_account(stage.account);
        }
        statuses.push(
            service
                .clone()
                .oneshot(stage.request())
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 200, 200, 429]);
}

#[tokio::test]
async fn a_full_queue_refuses_instead_of_losing_events() {
    let stage = Stage::with(FIVE, Vec::new(), |builder| {
        builder.queue(1).flush_interval(Duration::from_secs(3_600))
    })
    .await;
    let pending = handler(|_| std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>());
    let service = stage.meter.layer("facts").layer(pending);
    let calls = std::sync::Arc::clone(&service.get_ref().calls);
    let held = tokio::spawn(service.clone().oneshot(stage.request()));
    while calls.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let response = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    held.abort();
    assert!(held.await.is_err());
    assert_eq!(stage.event().await.outcome, Outcome::ClientGone);
}

#[tokio::test]
async fn a_small_queue_is_emptied_before_it_is_full() {
    let stage = Stage::with("[free]", Vec::new(), |builder| {
        builder.queue(2_000).flush_interval(Duration::from_secs(3_600))
    })
    .await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    for number in 0..10_000 {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), 200, "request {number}");
        drop(response);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_not_charged_does_not_count_itself() {
    let stage = Stage::new(FIVE).await;
    let failing = handler(|_| async {
        Ok(Response::builder()
            .status(502)
            .body(Full::<Bytes>::from("no"))
            .unwrap())
    });
    let service = stage.meter.layer("facts").layer(failing);
    for _ in 0..3 {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(
            (
                &response.headers()["x-ratelimit-used"],
                &response.headers()["x-ratelimit-remaining"]
            ),
            (&"0".parse().unwrap(), &"5".parse().unwrap())
        );
        response.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn requests_in_flight_are_not_shown_as_used() {
    let stage = Stage::new(FIVE).await;
    let pending = handler(|_| std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>());
    let service = stage.meter.layer("facts").layer(pending);
    let calls = std::sync::Arc::clone(&service.get_ref().calls);
    let held: Vec<_> = (0..4)
        .map(|_| tokio::spawn(service.clone().oneshot(stage.request())))
        .collect();
    crate::stage::until(|| calls.load(std::sync::atomic::Ordering::Relaxed) == 4).await;
    let quick = stage.meter.layer("facts").layer(handler(facts));
    let response = quick.clone().oneshot(stage.request()).await.unwrap();
    assert_eq!(response.headers()["x-ratelimit-used"], "1");
    response.into_body().collect().await.unwrap();
    // Nothing can be had now, but not because it is used up.
    let refused = quick.oneshot(stage.request()).await.unwrap();
    assert_eq!(
        (
            refused.status().as_u16(),
            &refused.headers()["x-ratelimit-used"],
            &refused.headers()["x-ratelimit-remaining"],
            &refused.headers()["retry-after"]
        ),
        (
            429,
            &"1".parse().unwrap(),
            &"0".parse().unwrap(),
            &"10".parse().unwrap()
        )
    );
    held.iter().for_each(tokio::task::JoinHandle::abort);
}
