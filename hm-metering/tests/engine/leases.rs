//! Quotas that several processes share, and meters that only handlers charge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hm_metering::testing::StoreCall;
use hm_metering::{Charge, Meter, MeterName, OnUnavailable, PlanId, RateLimitLayer, StoreErrorKind, Units};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, with_key};

fn plan(limit: u64) -> String {
    FIVE.replace("limit = 5,", &format!("limit = {limit},"))
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds")
}

/// Sends a request of this cost through a meter.
async fn send(meter: &Meter, stage: &Stage, cost: u32) -> Response<()> {
    let service = meter.layer("facts").cost(cost).layer(handler(facts));
    let (parts, body) = service.oneshot(stage.request()).await.unwrap().into_parts();
    body.collect().await.unwrap();
    Response::from_parts(parts, ())
}

async fn status(meter: &Meter, stage: &Stage) -> u16 {
    send(meter, stage, 1).await.status().as_u16()
}

/// Sends requests until one is refused, and answers how many were not.
async fn drain(meter: &Meter, stage: &Stage) -> u64 {
    let mut admitted = 0;
    while status(meter, stage).await == 200 {
        admitted += 1;
    }
    admitted
}

/// Lets time pass on both clocks, so that what is done in the background gets done.
async fn pass(stage: &Stage, seconds: u64) {
    for _ in 0..seconds {
        stage.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Charges this many units of a meter, whatever was declared.
async fn charge(layer: hm_metering::MeteringLayer, stage: &Stage, meter: &'static str, units: u64) -> u16 {
    let charging = handler(move |request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap();
        charge.set(&MeterName::from_static(meter), Units::new(units));
        facts(request).await
    });
    let response = layer.layer(charging).oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_charges_beyond_its_lease_does_not_let_others_over_the_limit() {
    let stage = Stage::new(&plan(27)).await;
    let other = stage.second_meter(&plan(27)).await;
    assert_eq!(
        charge(stage.meter.layer("facts"), &stage, "requests", 20).await,
        200
    );
    stage.events().await;
    let admitted = 20 + drain(&other, &stage).await + drain(&stage.meter, &stage).await;
    assert!(admitted <= 27, "{admitted} of 27");
    assert!(other.shutdown(Duration::from_secs(5)).await.released);
    assert!(stage.meter.shutdown(Duration::from_secs(5)).await.released);
    let balance = stage.balance().await;
    assert_eq!(
        (balance.used, balance.leased),
        (Units::new(admitted), Units::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_only_handlers_charge_is_refused_when_its_quota_is_used_up() {
    let plans = format!("{}\n{}", plan(1_000).trim_end(), "").replace(
        "quotas = [",
        "quotas = [{ meter = \"tokens\", limit = 10, period = \"day\" }, ",
    );
    let stage = Stage::new(&plans).await;
    let layer = stage.meter.layer("chat").cost_of("tokens", Units::ZERO).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(charge(layer.clone(), &stage, "tokens", 8).await);
    }
    assert_eq!(statuses, [200, 200, 429, 429], "8 of 10 are used, then 16 of 10");
    // An operation that has nothing to do with tokens goes on, and leases none.
    let before = stage.flaky.calls().of(StoreCall::Lease);
    assert_eq!(status(&stage.meter, &stage).await, 200);
    assert!(stage.flaky.calls().of(StoreCall::Lease) <= before + 1);
    let charged: u64 = stage
        .events()
        .await
        .iter()
        .map(|event| event.units_of(&MeterName::from_static("tokens")).get())
        .sum();
    assert_eq!(charged, 16);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_the_second_quota_tells_of_the_second_quota() {
    let plans = plan(1_000).replace(
        "period = \"anchored_month\" }]",
        "period = \"anchored_month\" }, { meter = \"tokens\", limit = 50, period = \"day\" }]",
    );
    let stage = Stage::new(&plans).await;
    let layer = stage
        .meter
        .layer("chat")
        .cost_of("tokens", Units::new(50))
        .unwrap();
    assert_eq!(
        layer
            .clone()
            .layer(handler(facts))
            .oneshot(stage.request())
            .await
            .unwrap()
            .headers()["x-ratelimit-limit"],
        "1000"
    );
    let refused = layer
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(
        (
            &refused.headers()["x-ratelimit-limit"],
            &refused.headers()["x-ratelimit-used"]
        ),
        (&"50".parse().unwrap(), &"50".parse().unwrap())
    );
    assert!(
        refused.headers()["ratelimit"]
            .to_str()
            .unwrap()
            .starts_with("\"tokens-day\";r=0")
    );
    let response = send(&stage.meter, &stage, 1).await;
    assert_eq!(response.headers()["x-ratelimit-used"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_used_to_its_end_with_few_store_calls() {
    let stage = Stage::new(&plan(4_000)).await;
    let before = stage.flaky.calls();
    for _ in 0..4_000 {
        assert_eq!(status(&stage.meter, &stage).await, 200);
        stage.clock.advance(Duration::from_millis(1));
        tokio::task::yield_now().await;
    }
    let leases = stage.flaky.calls().since(&before).of(StoreCall::Lease);
    assert!(leases < 100, "{leases} leases for 4,000 requests");
    assert_eq!(status(&stage.meter, &stage).await, 429);
}

#[tokio::test(start_paused = true)]
async fn a_replica_with_a_trickle_gives_back_what_it_does_not_need() {
    let stage = Stage::new(&plan(4_000)).await;
    let other = stage.second_meter(&plan(4_000)).await;
    for _ in 0..2_000 {
        assert_eq!(status(&stage.meter, &stage).await, 200);
        tokio::task::yield_now().await;
    }
    // From now on one request every three seconds.
    for _ in 0..10 {
        pass(&stage, 3).await;
        assert_eq!(status(&stage.meter, &stage).await, 200);
    }
    let admitted = drain(&other, &stage).await;

    assert!(admitted > 1_900, "the other got {admitted}");
}

#[tokio::test(start_paused = true)]
async fn units_given_back_can_be_had_again_at_once() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(send(&stage.meter, &stage, 3).await.status(), 200);
    assert_eq!(send(&stage.meter, &stage, 3).await.status(), 429);
    pass(&stage, 8).await;
    let response = send(&stage.meter, &stage, 1).await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["x-ratelimit-used"]
        ),
        (200, &"4".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn units_that_are_too_few_for_one_replica_reach_the_other() {
    let stage = Stage::new(FIVE).await;
    let other = stage.second_meter(FIVE).await;
    assert_eq!(send(&stage.meter, &stage, 3).await.status(), 200);
    for _ in 0..6 {
        assert_eq!(send(&stage.meter, &stage, 3).await.status(), 429);
        pass(&stage, 3).await;
    }
    assert_eq!(drain(&other, &stage).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_outcome_is_unknown_is_repeated() {
    let stage = Stage::new(&plan(1_000)).await;
    assert_eq!(status(&stage.meter, &stage).await, 200);
    stage.events().await;
    stage
        .flaky
        .fail_every(StoreCall::Release, StoreErrorKind::Unexpected);
    pass(&stage, 10).await;
    stage.flaky.recover();
    pass(&stage, 10).await;
    let balance = stage.balance().await;
    assert_eq!((balance.used, balance.leased), (Units::ONE, Units::ZERO));
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_request_waits_is_refused() {
    let stage = Stage::new(FIVE).await;
    // The key is known; its quota's lease is what the request waits for.
    stage
        .flaky
        .fail_every(StoreCall::Lease, StoreErrorKind::Unavailable);
    assert_eq!(status(&stage.meter, &stage).await, 503);
    stage.flaky.recover();
    stage.flaky.hang();
    let service = stage.meter.layer("facts").layer(handler(facts));
    let waiting = tokio::spawn(service.oneshot(stage.request()));
    crate::stage::until(|| stage.flaky.hanging() > 0).await;
    hm_metering::KeyStore::revoke(&stage.store, stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    stage.meter.forget_key(stage.key_id);
    stage.flaky.recover();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 401);
}

#[tokio::test]
async fn a_refusal_for_want_of_room_takes_nothing_of_the_rate() {
    let plans = FIVE.replace("limit = 1000, per_seconds = 1", "limit = 2, per_seconds = 3600");
    let stage = Stage::with(&plans, Vec::new(), |builder| builder.queue(1)).await;
    let pending = handler(|_| std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>());
    let calls = Arc::clone(&pending.calls);
    let held = tokio::spawn(stage.meter.layer("facts").layer(pending).oneshot(stage.request()));
    crate::stage::until(|| calls.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    assert_eq!(status(&stage.meter, &stage).await, 503);
    held.abort();
    assert!(held.await.is_err());
    stage.events().await;
    assert_eq!(status(&stage.meter, &stage).await, 200);
}

#[tokio::test]
async fn a_second_shutdown_answers_as_the_first() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(status(&stage.meter, &stage).await, 200);
    for _ in 0..2 {
        let report = stage.meter.shutdown(Duration::from_secs(5)).await;
        assert!(report.recorded && report.released, "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_that_are_not_used_are_forgotten_and_found_again() {
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.callers(1)).await;
    for _ in 0..3 {
        assert_eq!(status(&stage.meter, &stage).await, 200);
        let other = stage.keys.issue(PlanId::from_static("free"), stage.now()).await;
        let service = stage.meter.layer("facts").layer(handler(facts));
        assert_eq!(
            service.oneshot(with_key(other.text())).await.unwrap().status(),
            200
        );
        stage.events().await;
        pass(&stage, 70).await;
    }
    assert_eq!(drain(&stage.meter, &stage).await, 2);
    stage.meter.flush(Duration::from_secs(5)).await;
    assert_eq!(stage.balance().await.used, Units::new(5));
}

#[tokio::test(start_paused = true)]
async fn others_use_is_asked_for_once_a_second_however_often_events_are_recorded() {
    let short = Duration::from_millis(50);
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.flush_interval(short)).await;
    assert_eq!(status(&stage.meter, &stage).await, 200);
    let before = stage.flaky.calls();
    for _ in 0..100 {
        stage.clock.advance(short);
        tokio::time::sleep(short).await;
    }
    let asked = stage.flaky.calls().since(&before).of(StoreCall::Balances);
    assert!((4..=6).contains(&asked), "{asked} times in 5 seconds");
}

#[tokio::test]
async fn a_shutdown_may_take_as_long_as_it_takes() {
    let stage = Stage::new(&plan(100)).await;
    assert_eq!(status(&stage.meter, &stage).await, 200);
    let report = stage.meter.shutdown(Duration::MAX).await;
    assert!(report.recorded && report.released, "{report:?}");
    let balance = stage.balance().await;
    assert_eq!((balance.used, balance.leased), (Units::ONE, Units::ZERO));
}

#[tokio::test]
async fn every_interval_and_bound_may_be_as_long_as_can_be() {
    let longest = Duration::MAX;
    let stage = Stage::with(&plan(100), Vec::new(), |builder| {
        builder
            .staleness(longest)
            .feed_interval(longest)
            .flush_interval(longest)
            .store_timeout(longest)
            .record_timeout(longest)
    })
    .await;
    let open = OnUnavailable::Open { at_most: longest };
    let service = stage
        .meter
        .layer("facts")
        .on_unavailable(open)
        .layer(handler(facts));
    for _ in 0..3 {
        let response = service.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        stage.clock.advance(Duration::from_secs(86_400));
    }
    assert!(stage.meter.flush(longest).await);
    let limited = RateLimitLayer::new(1, longest).layer(handler(facts));
    for expected in [200, 429] {
        let response = limited.clone().oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status(), expected);
    }
    let report = stage.meter.shutdown(longest).await;
    assert!(report.recorded && report.released, "{report:?}");
}

#[tokio::test]
async fn a_shutdown_waits_for_the_operation_under_way_however_long_stores_may_take() {
    let stage = Stage::with(&plan(100), Vec::new(), |builder| {
        builder.store_timeout(Duration::MAX)
    })
    .await;
    assert_eq!(status(&stage.meter, &stage).await, 200);
    stage.flaky.hang();
    // It waits for units, and leaves; the store is still being asked.
    let asking = tokio::time::timeout(Duration::from_millis(50), send(&stage.meter, &stage, 90));
    assert!(asking.await.is_err());
    let ending = tokio::spawn({
        let meter = stage.meter.clone();
        async move { meter.shutdown(Duration::MAX).await }
    });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    stage.flaky.recover();
    let report = ending.await.unwrap();
    assert!(report.recorded && report.released, "{report:?}");
    assert_eq!(stage.balance().await.leased, Units::ZERO);
}
