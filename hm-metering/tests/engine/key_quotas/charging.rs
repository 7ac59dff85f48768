//! What counts against a key's quota.

use bytes::Bytes;
use hm_metering::period::PeriodRule;
use hm_metering::plan::Quota;
use hm_metering::{Charge, MeteringLayer, Overrun, Units};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use super::{of_key, plan, send, shut_down, stage, used};
use crate::stage::{Stage, TOKENS, handler, tokens};

/// Sends a request whose handler says that it took so many tokens, and answers its status.
async fn take(stage: &Stage, overrun: Overrun, units: u64) -> u16 {
    let layer = stage.meter.layer("chat").cost_of("tokens", Units::ZERO).unwrap();
    charge(layer.overrun(overrun), stage, units).await
}

async fn charge(layer: MeteringLayer, stage: &Stage, units: u64) -> u16 {
    let service = layer.layer(handler(move |request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap().clone();
        charge.add(&TOKENS, units);
        Ok(Response::new(Full::<Bytes>::default()))
    }));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    let _ = response.into_body().collect().await;
    status
}

/// The tokens of the ledger's events, when everything is over. Both counters have as many, and nothing is leased.
async fn tokens_over(stage: &Stage) -> Vec<(u64, bool)> {
    shut_down(&stage.meter).await;
    let events = stage.events_in_store().await;
    let taken: Vec<_> = events
        .iter()
        .filter(|event| event.refusal.is_none())
        .map(|event| (event.units_of(&TOKENS).get(), event.over))
        .collect();
    let sum = taken.iter().map(|(units, _)| units).sum();
    let of_key = of_key(stage, stage.key_id, &TOKENS, PeriodRule::Day).await;
    assert_eq!(used(of_key), (sum, 0));
    assert_eq!(used(stage.day_of(&TOKENS).await), (sum, 0));
    taken
}

#[tokio::test]
async fn a_request_that_is_not_charged_gives_the_keys_units_back() {
    let stage = stage(&plan(100), Quota::per_day(2)).await;
    for status in [500, 502, 500, 503, 500] {
        let layer = stage.meter.layer("facts");
        let failing = layer.layer(handler(move |_| async move {
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok(response)
        }));
        let response = failing.oneshot(stage.request()).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        response.into_body().collect().await.unwrap();
    }
    for expected in [200, 200, 429] {
        assert_eq!(
            send(stage.meter.layer("facts"), stage.request()).await.status,
            expected
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_says_beyond_a_keys_quota_overflows_and_counts_in_both() {
    let stage = stage(&tokens(1_000), Quota::per_day(50).of("tokens")).await;
    for (units, status) in [(30, 200), (40, 200), (1, 429)] {
        assert_eq!(take(&stage, Overrun::Overflow, units).await, status);
    }
    assert_eq!(tokens_over(&stage).await, [(30, false), (40, true)]);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_says_is_capped_at_what_is_left_of_either_quota() {
    for (account, key) in [(1_000, 50), (50, 1_000)] {
        let stage = stage(&tokens(account), Quota::per_day(key).of("tokens")).await;
        for (units, status) in [(30, 200), (40, 200), (1, 429)] {
            assert_eq!(take(&stage, Overrun::Cap, units).await, status);
        }
        assert_eq!(tokens_over(&stage).await, [(30, false), (20, false)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_takes_more_than_a_keys_quota_is_refused_where_it_says_so() {
    let stage = stage(&tokens(1_000), Quota::per_day(50).of("tokens")).await;
    for (units, status) in [(30, 200), (40, 429), (20, 200)] {
        assert_eq!(take(&stage, Overrun::Reject, units).await, status);
    }
    assert_eq!(tokens_over(&stage).await, [(30, false), (0, false), (20, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_only_the_handler_names_counts_against_the_keys_quota_too() {
    let stage = stage(&tokens(1_000), Quota::per_day(50).of("tokens")).await;
    assert_eq!(charge(stage.meter.layer("facts"), &stage, 60).await, 200);
    assert_eq!(take(&stage, Overrun::Overflow, 1).await, 429);
    assert_eq!(tokens_over(&stage).await, [(60, true)]);
}

#[tokio::test]
async fn a_key_may_have_a_quota_of_a_meter_that_its_account_has_none_of() {
    let stage = stage(&plan(100), Quota::per_day(50).of("tokens")).await;
    let layer = || {
        stage
            .meter
            .layer("chat")
            .cost_of("tokens", Units::new(20))
            .unwrap()
    };
    for expected in [200, 200, 429] {
        assert_eq!(send(layer(), stage.request()).await.status, expected);
    }
    shut_down(&stage.meter).await;
    assert_eq!(
        used(of_key(&stage, stage.key_id, &TOKENS, PeriodRule::Day).await),
        (40, 0)
    );
    assert_eq!(used(stage.day_of(&TOKENS).await), (0, 0));
}
