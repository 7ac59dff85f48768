//! What the engine asks of its stores, and what becomes of requests when they do not answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hm_metering::testing::StoreCall;
use hm_metering::usage::Outcome;
use hm_metering::{KeyStore, MeterName, StoreErrorKind, Units};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, until};

/// Sends a request through and answers its status.
async fn status(stage: &Stage) -> u16 {
    let response = stage
        .meter
        .layer("facts")
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

fn thousand() -> String {
    FIVE.replace("limit = 5,", "limit = 100000,")
        .replace("limit = 1000, per_seconds", "limit = 100000, per_seconds")
}

#[tokio::test]
async fn a_warm_request_makes_no_store_call() {
    let stage = Stage::with(&thousand(), Vec::new(), |builder| {
        builder
            .flush_interval(Duration::from_secs(3_600))
            .feed_interval(Duration::from_secs(3_600))
    })
    .await;
    // Warm up until the lease has room for what follows; its size doubles with each renewal.
    for _ in 0..300 {
        assert_eq!(status(&stage).await, 200);
        tokio::task::yield_now().await;
    }
    let before = stage.flaky.calls();
    for _ in 0..20 {
        assert_eq!(status(&stage).await, 200);
    }
    let since = stage.flaky.calls().since(&before);
    assert_eq!(since.total(), 0, "{since:?}");
}

#[tokio::test]
async fn a_refused_request_makes_no_store_call() {
    let stage = Stage::with(FIVE, Vec::new(), |builder| {
        builder
            .flush_interval(Duration::from_secs(3_600))
            .feed_interval(Duration::from_secs(3_600))
    })
    .await;
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&stage).await, expected);
    }
    let before = stage.flaky.calls();
    for _ in 0..1_000 {
        assert_eq!(status(&stage).await, 429);
    }
    assert_eq!(stage.flaky.calls().since(&before).total(), 0);
}

#[tokio::test]
async fn a_thousand_first_uses_of_a_key_make_one_look_up() {
    let stage = Stage::new(&thousand()).await;
    stage.flaky.hang();
    let service = stage.meter.layer("facts").layer(handler(facts));
    let requests: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(service.clone().oneshot(stage.request())))
        .collect();
    until(|| stage.flaky.calls().of(StoreCall::FindByDigest) == 1).await;
    tokio::task::yield_now().await;
    stage.flaky.recover();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(stage.flaky.calls().of(StoreCall::FindByDigest), 1);
    assert_eq!(service.get_ref().calls.load(Ordering::Relaxed), 1_000);
}

#[tokio::test]
async fn garbage_and_known_unknown_keys_make_no_look_up() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    let before = stage.flaky.calls().of(StoreCall::FindByDigest);
    for number in 0..10_000 {
        let request = crate::stage::with_key(&format!("hm_live_{number:039}"));
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), 401);
    }
    assert_eq!(stage.flaky.calls().of(StoreCall::FindByDigest), before);
    let unknown = hm_metering::KeyFormat::default()
        .generate(hm_metering::KeyEnv::Live)
        .unwrap();
    for _ in 0..100 {
        let request = crate::stage::with_key(unknown.expose());
        assert_eq!(service.clone().oneshot(request).await.unwrap().status(), 401);
    }
    assert_eq!(stage.flaky.calls().of(StoreCall::FindByDigest), before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_is_answered_503_in_time_and_nothing_is_lost() {
    let stage = Stage::new(FIVE).await;
    stage.flaky.fail_all(StoreErrorKind::Unavailable);
    assert_eq!(status(&stage).await, 503);
    stage.flaky.recover();
    assert_eq!(status(&stage).await, 200);

    let other = Stage::new(FIVE).await;
    other.flaky.hang();
    let began = tokio::time::Instant::now();
    assert_eq!(status(&other).await, 503);
    assert!(began.elapsed() <= Duration::from_secs(4), "{:?}", began.elapsed());
    other.flaky.recover();
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&other).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_answer_was_lost_is_not_debited_twice() {
    let stage = Stage::new(FIVE).await;
    stage
        .flaky
        .fail_every(StoreCall::Lease, StoreErrorKind::Unavailable);
    assert_eq!(status(&stage).await, 503);
    stage.flaky.recover();
    stage.flaky.lose_next(1);
    assert_eq!(status(&stage).await, 503, "the answer to the lease is lost");
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&stage).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_away_gets_every_event_once_when_it_is_back() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(status(&stage).await, 200);
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    for _ in 0..3 {
        assert_eq!(status(&stage).await, 200);
    }
    assert!(
        !stage.meter.flush(Duration::from_secs(5)).await,
        "it can't have been recorded"
    );
    stage.flaky.recover();
    stage.flaky.lose_next(2);
    assert!(stage.meter.flush(Duration::from_secs(60)).await);
    let events = stage.events().await;
    assert_eq!(events.len(), 4);
    assert_eq!(stage.balance().await.used, Units::new(4));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_sink_refuses_loses_only_the_event_that_is_wrong() {
    let stage = Stage::with(FIVE, Vec::new(), |builder| {
        builder.flush_interval(Duration::from_secs(3_600))
    })
    .await;
    for _ in 0..5 {
        assert_eq!(status(&stage).await, 200);
    }
    // The whole batch and its first half are refused; then the store takes what it gets.
    stage.flaky.fail_next(1, StoreErrorKind::Conflict);
    assert_eq!(stage.events().await.len(), 5, "halves are tried again");
    assert_eq!(stage.balance().await.used, Units::new(5));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_refused_by_the_feed_and_never_beyond_the_staleness_bound() {
    let stage = Stage::new(&thousand()).await;
    assert_eq!(status(&stage).await, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    // Nobody told the meter; the feed does, within half a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(status(&stage).await, 401);

    let cut_off = Stage::new(&thousand()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status(&cut_off).await, 200);
    cut_off
        .flaky
        .fail_every(StoreCall::ChangesSince, StoreErrorKind::Unavailable);
    cut_off
        .store
        .revoke(cut_off.account, cut_off.key_id, cut_off.now())
        .await
        .unwrap();
    cut_off.clock.advance(Duration::from_millis(4_900));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        status(&cut_off).await,
        200,
        "still believed: the feed was read less than the bound ago"
    );
    cut_off.clock.advance(Duration::from_millis(200));
    assert_eq!(status(&cut_off).await, 401);
}

#[tokio::test]
async fn a_key_ends_at_its_moment_without_another_look_up() {
    let stage = Stage::with_key(&thousand(), |key, now| {
        key.expires_at = Some(now.plus(Duration::from_secs(2)))
    })
    .await;
    assert_eq!(status(&stage).await, 200);
    stage.clock.advance(Duration::from_micros(1_999_999));
    assert_eq!(status(&stage).await, 200);
    let before = stage.flaky.calls().of(StoreCall::FindByDigest);
    stage.clock.advance(Duration::from_micros(1));
    assert_eq!(status(&stage).await, 401);
    assert_eq!(stage.flaky.calls().of(StoreCall::FindByDigest), before);
}

#[tokio::test]
async fn a_new_period_begins_with_the_whole_quota() {
    let stage = Stage::new(FIVE).await;
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&stage).await, expected);
    }
    stage.clock.advance(Duration::from_secs(32 * 86_400));
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&stage).await, expected);
    }
    let events = stage.events().await;
    let charged: u64 = events
        .iter()
        .map(|event| event.units_of(&MeterName::REQUESTS).get())
        .sum();
    assert_eq!((events.len(), charged), (12, 10));
    assert_eq!(
        events
            .iter()
            .filter(|event| event.outcome == Outcome::Refused)
            .count(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_lease_goes_back_to_the_store() {
    let stage = Stage::new(&thousand()).await;
    assert_eq!(status(&stage).await, 200);
    stage.events().await;
    assert!(!stage.balance().await.leased.is_zero());
    for _ in 0..7 {
        stage.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let balance = stage.balance().await;
    assert_eq!((balance.used, balance.leased), (Units::ONE, Units::ZERO));
    assert_eq!(status(&stage).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_meters_on_one_store_admit_exactly_the_quota() {
    let plans = FIVE
        .replace("limit = 5,", "limit = 500,")
        .replace("limit = 1000, per_seconds", "limit = 100000, per_seconds");
    let stage = Stage::new(&plans).await;
    let other = stage.second_meter(&plans).await;
    let clients: Vec<_> = [&stage.meter, &other]
        .into_iter()
        .flat_map(|meter| (0..16).map(|_| meter.layer("facts").layer(handler(facts))))
        .map(|service| {
            let requests: Vec<_> = (0..30).map(|_| stage.request()).collect();
            tokio::spawn(async move {
                let mut admitted = 0;
                for request in requests {
                    let response = service.clone().oneshot(request).await.unwrap();
                    admitted += u64::from(response.status() == 200);
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
    assert!(admitted <= 500, "{admitted} of 500");
    // What one of them holds and does not spend goes back when it ends; the other can then use the rest.
    assert!(other.shutdown(Duration::from_secs(5)).await.released);
    stage.clock.advance(Duration::from_secs(2));
    for _ in 0..10_000 {
        if admitted == 500 {
            break;
        }
        stage.clock.advance(Duration::from_secs(2));
        admitted += u64::from(status(&stage).await == 200);
        tokio::task::yield_now().await;
    }
    assert_eq!(admitted, 500);
    stage.clock.advance(Duration::from_secs(2));
    assert_eq!(status(&stage).await, 429);
    assert!(stage.meter.flush(Duration::from_secs(5)).await);
    assert_eq!(stage.balance().await.used, Units::new(500));
}

#[tokio::test(start_paused = true)]
async fn refusals_of_one_account_do_not_get_another_refused() {
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.queue(100)).await;
    let other = stage
        .keys
        .issue(hm_metering::PlanId::from_static("free"), stage.now())
        .await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    for _ in 0..5 {
        assert_eq!(status(&stage).await, 200);
    }
    for _ in 0..1_000 {
        assert_eq!(status(&stage).await, 429);
    }
    let service = stage.meter.layer("facts").layer(handler(facts));
    for _ in 0..5 {
        let response = service
            .clone()
            .oneshot(crate::stage::with_key(other.text()))
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_lost_is_not_called_recorded() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(status(&stage).await, 200);
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Conflict);
    assert!(!stage.meter.flush(Duration::from_secs(5)).await);
    assert_eq!(stage.meter.events_lost(), 1);
    stage.flaky.recover();
    assert!(
        stage.meter.shutdown(Duration::from_secs(5)).await.recorded,
        "what is lost was told before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_can_name_is_tried_again() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(status(&stage).await, 200);
    stage.flaky.fail_next(3, StoreErrorKind::Unexpected);
    assert_eq!(stage.events().await.len(), 1);
    assert_eq!(stage.meter.events_lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_in_flight_is_recorded_when_the_meter_is_dropped_before_it_ends() {
    let Stage {
        store,
        meter,
        key,
        account,
        clock,
        ..
    } = Stage::new(FIVE).await;
    let service = meter.layer("facts").layer(handler(facts));
    let response = service
        .oneshot(crate::stage::with_key(key.expose()))
        .await
        .unwrap();
    drop(meter);
    tokio::time::sleep(Duration::from_secs(3)).await;
    response.into_body().collect().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let query = hm_metering::usage::UsageQuery::new(
        account,
        hm_metering::Timestamp::MIN,
        hm_metering::Timestamp::MAX,
    );
    assert_eq!(
        hm_metering::UsageStore::totals(&store, &query)
            .await
            .unwrap()
            .requests,
        1
    );
    drop(clock);
}

#[tokio::test]
async fn the_keys_of_an_account_share_its_rate() {
    let plans = FIVE.replace("limit = 1000, per_seconds = 1", "limit = 3, per_seconds = 3600");
    let stage = Stage::new(&plans).await;
    let second = stage.another_key().await;
    stage.flaky.hang();
    let service = stage.meter.layer("facts").layer(handler(facts));
    let keys = [stage.key.expose().to_owned(), second.text().to_owned()];
    let requests: Vec<_> = (0..8)
        .map(|number| tokio::spawn(service.clone().oneshot(crate::stage::with_key(&keys[number % 2]))))
        .collect();
    until(|| stage.flaky.hanging() >= 2).await;
    stage.flaky.recover();
    let mut admitted = 0;
    for request in requests {
        admitted += u32::from(request.await.unwrap().unwrap().status() == 200);
    }
    assert_eq!(admitted, 3);
}

#[tokio::test(start_paused = true)]
async fn a_rate_goes_on_when_the_feed_can_not_be_read() {
    let plans = FIVE.replace("limit = 1000, per_seconds = 1", "limit = 3, per_seconds = 3600");
    let stage = Stage::new(&plans).await;
    stage
        .flaky
        .fail_every(StoreCall::ChangesSince, StoreErrorKind::Unavailable);
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(&stage).await, expected);
    }
    stage.clock.advance(Duration::from_secs(6));
    assert_eq!(
        status(&stage).await,
        429,
        "the caller was asked for again, its rate did not begin anew"
    );
}
