//! What a key may do, from where, and how often: its own networks, rates, scopes and environment.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::ConnectInfo;
use bytes::Bytes;
use hm_metering::keys::{InvalidKey, IpAllow, KeyLimits, KeyPatch};
use hm_metering::meter::{DecisionTrace, KeyState};
use hm_metering::plan::RateLimit;
use hm_metering::testing::StoreCall;
use hm_metering::usage::Outcome;
use hm_metering::{KeyEnv, KeyStore, PeerAddress, StoreErrorKind, TrustedProxies};
use http::Request;
use http_body_util::Full;
use salvo::prelude::*;
use salvo::test::{ResponseExt, TestClient};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, with_key};
use crate::told::send;

fn office() -> IpAllow {
    IpAllow::new(["203.0.113.0/24", "2001:db8::/32"].map(|text| text.parse().unwrap())).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A key for the office only, behind proxies in 10.0.0.0/8.
async fn office_stage() -> Stage {
    Stage::build(
        FIVE,
        |key, _| key.ip_allow = office(),
        |builder| builder.trusted_proxies(TrustedProxies::new(["10.0.0.0/8".parse().unwrap()])),
    )
    .await
}

fn from(stage: &Stage, peer: Option<&str>, forwarded: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = stage.request();
    if let Some(peer) = peer {
        request.extensions_mut().insert(PeerAddress(address(peer)));
    }
    if let Some(forwarded) = forwarded {
        request
            .headers_mut()
            .insert("x-forwarded-for", forwarded.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_only_whether_memory_knows_it_or_not() {
    let cases = [
        (Some("203.0.113.9"), None, 200),
        (Some("::ffff:203.0.113.9"), None, 200),
        (Some("2001:db8::7"), None, 200),
        (Some("198.51.100.1"), None, 403),
        (None, None, 403),
        (Some("10.0.0.1"), Some("203.0.113.9"), 200),
        (Some("10.0.0.1"), Some("198.51.100.1"), 403),
        // What the client wrote itself counts for nothing.
        (Some("198.51.100.1"), Some("203.0.113.9"), 403),
        (Some("10.0.0.1"), Some("203.0.113.9, 198.51.100.1"), 403),
        (None, Some("203.0.113.9"), 403),
    ];
    let warm = office_stage().await;
    for (peer, forwarded, expected) in cases {
        let cold = office_stage().await;
        for stage in [&cold, &warm] {
            let told = send(stage.meter.layer("facts"), from(stage, peer, forwarded)).await;
            assert_eq!(told.status, expected, "{peer:?} {forwarded:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_address_is_told_nothing_of_the_account_and_charged_nothing() {
    let stage = office_stage().await;
    let layer = || stage.meter.layer("facts");
    assert_eq!(
        send(layer(), from(&stage, Some("203.0.113.9"), None))
            .await
            .status,
        200
    );
    let before = stage.flaky.calls();
    let told = send(layer(), from(&stage, Some("198.51.100.1"), None)).await;
    assert_eq!(
        (told.status, &told.body["code"]),
        (403, &"address_not_allowed".into())
    );
    assert_eq!(told.body["type"], "about:blank");
    assert!(!told.body.to_string().contains("198.51.100.1"));
    for name in [
        "x-ratelimit-limit",
        "ratelimit",
        "ratelimit-policy",
        "www-authenticate",
    ] {
        assert!(!told.headers.contains_key(name), "{name}");
    }
    assert_eq!(stage.flaky.calls().since(&before).total(), 0);
    let events = stage.events().await;
    assert_eq!(events.len(), 2);
    assert_eq!((events[1].outcome, events[1].status), (Outcome::Refused, 403));
    assert_eq!(events[1].refusal.as_deref(), Some("address_not_allowed"));
    assert_eq!(stage.balance().await.used.get(), 1);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_refused_before_scopes_and_limits() {
    let stage = office_stage().await;
    let layer = stage.meter.layer("facts").require_scope("facts:read");
    let told = send(layer.clone(), from(&stage, None, None)).await;
    assert_eq!(told.body["code"], "address_not_allowed");
    let told = send(layer, from(&stage, Some("203.0.113.9"), None)).await;
    assert_eq!(told.body["code"], "missing_scope");
}

#[tokio::test]
async fn networks_that_are_taken_away_or_changed_hold_from_the_next_request_on() {
    let stage = office_stage().await;
    let status = async || {
        send(
            stage.meter.layer("facts"),
            from(&stage, Some("198.51.100.1"), None),
        )
        .await
        .status
    };
    assert_eq!(status().await, 403);
    for (networks, expected) in [
        (&["198.51.100.1/32"][..], 200),
        (&["192.0.2.0/24"], 403),
        (&[], 200),
    ] {
        let patch = KeyPatch {
            ip_allow: Some(IpAllow::new(networks.iter().map(|text| text.parse().unwrap())).unwrap()),
            ..KeyPatch::default()
        };
        let changed = stage
            .store
            .update(stage.account, stage.key_id, &patch, stage.now())
            .await;
        assert!(changed.unwrap().is_some());
        stage.meter.forget_key(stage.key_id);
        assert_eq!(status().await, expected, "{networks:?}");
    }
}

#[tokio::test]
async fn axum_and_salvo_say_where_a_request_comes_from() {
    let stage = office_stage().await;
    for (peer, expected) in [("203.0.113.9:443", 200), ("198.51.100.1:443", 403)] {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut request = stage.request();
        request.extensions_mut().insert(ConnectInfo(peer));
        assert_eq!(
            send(stage.meter.layer("facts"), request).await.status,
            expected,
            "axum"
        );

        let router = Router::new().hoop(stage.meter.layer("facts").hoop()).get(answer);
        let mut request = TestClient::get("http://localhost/")
            .add_header("x-api-key", stage.key.expose(), true)
            .build();
        *request.remote_addr_mut() = peer.into();
        let mut response = salvo::Service::new(router).handle(request).await;
        let body = response.take_string().await.unwrap();
        assert_eq!(response.status_code.unwrap().as_u16(), expected, "salvo: {body}");
    }
}

#[handler]
async fn answer() -> &'static str {
    "facts"
}

fn per_hour(limit: u32) -> KeyLimits {
    per(Duration::from_secs(3_600), limit)
}

fn per(per: Duration, limit: u32) -> KeyLimits {
    let rate = RateLimit {
        name: "key".to_owned(),
        limit,
        per,
        burst: limit,
    };
    KeyLimits::new([rate]).unwrap()
}

#[tokio::test]
async fn a_keys_own_rate_holds_beside_the_accounts() {
    let plans = FIVE
        .replace("limit = 5,", "limit = 100,")
        .replace("limit = 1000, per_seconds = 1", "limit = 4, per_seconds = 3600");
    let stage = Stage::with_key(&plans, |key, _| key.limits = per_hour(2)).await;
    let other = stage.another_key().await;
    let layer = || stage.meter.layer("facts");
    for expected in [200, 200, 429, 429, 429] {
        assert_eq!(send(layer(), stage.request()).await.status, expected);
    }
    let told = send(layer(), stage.request()).await;
    assert_eq!(told.body["code"], "rate_limited");
    assert_eq!(told.body["violated-policies"], serde_json::json!(["key"]));
    assert_eq!(told.headers["retry-after"], "1800");
    // The refused ones took nothing of the account's rate: two of four are left for its other key.
    for expected in [200, 200, 429] {
        assert_eq!(send(layer(), with_key(other.text())).await.status, expected);
    }
    stage.clock.advance(Duration::from_secs(1_800));
    // The account has two again, the key one: the second request of the key leaves one to the other key.
    for (key, expected) in [
        (stage.key.expose(), 200),
        (stage.key.expose(), 429),
        (other.text(), 200),
    ] {
        assert_eq!(send(layer(), with_key(key)).await.status, expected);
    }
    assert_eq!(send(layer(), with_key(other.text())).await.status, 429);
}

#[tokio::test]
async fn a_request_that_the_quota_refuses_takes_nothing_of_the_keys_rate() {
    let stage = Stage::with_key(FIVE, |key, _| {
        key.limits = per(Duration::from_secs(366 * 86_400), 6)
    })
    .await;
    let status = async || send(stage.meter.layer("facts"), stage.request()).await.status;
    for expected in [200, 200, 200, 200, 200, 429, 429, 429] {
        assert_eq!(status().await, expected);
    }
    // In the next month the quota is there again, and of the key's six a year one.
    stage.clock.advance(Duration::from_secs(32 * 86_400));
    assert_eq!(status().await, 200);
    assert_eq!(
        send(stage.meter.layer("facts"), stage.request()).await.body["code"],
        "rate_limited"
    );
}

#[tokio::test(start_paused = true)]
async fn a_keys_rate_goes_on_over_refills_and_begins_anew_when_it_changes() {
    let plans = FIVE.replace("limit = 5,", "limit = 100,");
    let stage = Stage::with_key(&plans, |key, _| key.limits = per_hour(2)).await;
    stage
        .flaky
        .fail_every(StoreCall::ChangesSince, StoreErrorKind::Unavailable);
    let layer = || stage.meter.layer("facts");
    for expected in [200, 200, 429] {
        assert_eq!(send(layer(), stage.request()).await.status, expected);
    }
    let look_ups = stage.flaky.calls().of(StoreCall::FindByDigest);
    stage.clock.advance(Duration::from_secs(6));
    assert_eq!(send(layer(), stage.request()).await.status, 429);
    stage.meter.forget_key(stage.key_id);
    assert_eq!(send(layer(), stage.request()).await.status, 429);
    assert_eq!(stage.flaky.calls().of(StoreCall::FindByDigest), look_ups + 2);
    for (limits, expected) in [(per_hour(3), 200), (KeyLimits::default(), 200)] {
        let patch = KeyPatch {
            limits: Some(limits),
            ..KeyPatch::default()
        };
        let changed = stage
            .store
            .update(stage.account, stage.key_id, &patch, stage.now())
            .await;
        assert!(changed.unwrap().is_some());
        stage.meter.forget_key(stage.key_id);
        assert_eq!(send(layer(), stage.request()).await.status, expected);
    }
}

#[tokio::test]
async fn one_of_several_scopes_is_enough_where_one_is_asked_for() {
    let stage = Stage::with(FIVE, vec!["facts:all".to_owned()], |builder| builder).await;
    let layer = || stage.meter.layer("facts");
    let either = layer().require_any_scope(["facts:read", "facts:all"]);
    assert_eq!(send(either, stage.request()).await.status, 200);
    let neither = layer().require_any_scope(["facts:read", "facts:write"]);
    let told = send(neither.clone(), stage.request()).await;
    assert_eq!((told.status, &told.body["code"]), (403, &"missing_scope".into()));
    assert!(
        told.body["detail"]
            .as_str()
            .unwrap()
            .contains("facts:read or facts:write")
    );
    // A layer inside of another asks too.
    let nested = layer().layer(neither.layer(handler(facts)));
    assert_eq!(nested.oneshot(stage.request()).await.unwrap().status(), 403);
}

#[tokio::test]
async fn live_and_test_keys_are_told_apart_where_it_matters() {
    for (env, other) in [(KeyEnv::Live, KeyEnv::Test), (KeyEnv::Test, KeyEnv::Live)] {
        let stage = Stage::with_key(FIVE, |key, _| key.env = env).await;
        let layer = || stage.meter.layer("facts");
        assert_eq!(send(layer(), stage.request()).await.status, 200);
        assert_eq!(send(layer().only_env(env), stage.request()).await.status, 200);
        let told = send(layer().only_env(other), stage.request()).await;
        assert_eq!(
            (told.status, &told.body["code"]),
            (403, &"wrong_environment".into())
        );
        let nested = layer().layer(layer().only_env(other).layer(handler(facts)));
        assert_eq!(nested.oneshot(stage.request()).await.unwrap().status(), 403);
    }
}

/// A request's status, and what operators are told of its key.
async fn state(stage: &Stage) -> (u16, Option<KeyState>) {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let trace = response.extensions().get::<DecisionTrace>();
    (response.status().as_u16(), trace.map(DecisionTrace::key_state))
}

const fn not_accepted(reason: InvalidKey) -> (u16, Option<KeyState>) {
    (401, Some(KeyState::NotAccepted(reason)))
}

#[tokio::test]
async fn a_key_is_not_accepted_before_its_time() {
    let hour = Duration::from_secs(3_600);
    let stage = Stage::with_key(FIVE, |key, now| key.not_before = Some(now.plus(hour))).await;
    assert_eq!(state(&stage).await, not_accepted(InvalidKey::NotYetValid));
    stage.clock.advance(hour);
    assert_eq!(state(&stage).await, (200, None));
    assert_eq!(
        stage.events().await.len(),
        1,
        "who is not accepted is in no ledger"
    );
}

#[tokio::test]
async fn a_key_that_is_switched_off_is_not_accepted_until_it_is_on_again() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(state(&stage).await, (200, None));
    for (is_active, expected) in [
        (false, not_accepted(InvalidKey::Disabled)),
        (true, (200, None)),
        (false, not_accepted(InvalidKey::Disabled)),
    ] {
        let patch = KeyPatch {
            is_active: Some(is_active),
            ..KeyPatch::default()
        };
        let changed = stage
            .store
            .update(stage.account, stage.key_id, &patch, stage.now())
            .await;
        changed.unwrap();
        stage.meter.forget_key(stage.key_id);
        for _ in 0..2 {
            assert_eq!(state(&stage).await, expected);
        }
    }
}

#[tokio::test]
async fn no_key_of_a_closed_account_is_accepted() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(state(&stage).await, (200, None));
    assert!(stage.store.close_account(stage.account));
    stage.meter.forget_account(stage.account);
    for _ in 0..2 {
        assert_eq!(state(&stage).await, not_accepted(InvalidKey::Disabled));
    }
    let other = stage.another_key().await;
    let told = send(stage.meter.layer("facts"), with_key(other.presented().expose()));
    assert_eq!(told.await.status, 401);
}

#[tokio::test]
async fn an_empty_header_is_no_key() {
    let stage = Stage::new(FIVE).await;
    let key = format!("Bearer {}", stage.key.expose());
    for (own, authorization, status) in [
        ("", None, 401),
        ("", Some(key.as_str()), 200),
        ("  ", Some(key.as_str()), 200),
        ("", Some("Basic dTpw"), 401),
        ("", Some("Bearer of-another-system"), 401),
    ] {
        let mut request = with_key(own);
        if let Some(value) = authorization {
            request
                .headers_mut()
                .insert("authorization", value.parse().unwrap());
        }
        let told = send(stage.meter.layer("facts"), request).await;
        assert_eq!(told.status, status, "{own:?} {authorization:?}");
        if authorization.is_none_or(|value| value.starts_with("Basic")) {
            assert_eq!(told.body["code"], "missing_api_key");
        }
    }
}
