//! Requests that never reach the handler.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use hm_metering::usage::Outcome;
use hm_metering::{KeyEnv, KeyFormat, KeyStore, Refusal, RefusalKind};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, with_key};

struct Refused {
    status: u16,
    headers: http::HeaderMap,
    body: serde_json::Value,
    kind: Option<RefusalKind>,
}

async fn refused(stage: &Stage, request: Request<Full<Bytes>>) -> Refused {
    let inner = handler(facts);
    let calls = std::sync::Arc::clone(&inner.calls);
    let response = stage
        .meter
        .layer("facts")
        .layer(inner)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0, "the handler was called");
    let (parts, body): (_, _) = Response::into_parts(response);
    let body = body.collect().await.unwrap().to_bytes();
    assert_eq!(parts.headers["content-type"], "application/problem+json");
    assert_eq!(parts.headers["content-length"], body.len().to_string());
    Refused {
        status: parts.status.as_u16(),
        kind: parts.extensions.get::<Refusal>().map(Refusal::kind),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap(),
    }
}

#[tokio::test]
async fn a_request_without_a_key_is_challenged() {
    let stage = Stage::new(FIVE).await;
    let answer = refused(&stage, Request::get("/facts").body(Full::default()).unwrap()).await;
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (401, &"missing_api_key".into())
    );
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    assert_eq!(
        answer.body["requestId"],
        answer.headers["x-request-id"].to_str().unwrap()
    );
    assert!(
        stage.events().await.is_empty(),
        "nobody's request is in nobody's ledger"
    );
}

#[tokio::test]
async fn keys_that_are_not_accepted_look_alike_but_are_told_apart_inside() {
    let stage = Stage::new(FIVE).await;
    let mut texts = Vec::new();
    let revoked = stage.another_key().await;
    stage
        .store
        .revoke(stage.account, revoked.key, stage.now())
        .await
        .unwrap();
    let unknown = KeyFormat::default().generate(KeyEnv::Live).unwrap();
    let typo = stage.key.expose().replace("hm_live_", "hm_live_x");
    for key in ["hm_live_", "password", &typo, unknown.expose(), revoked.text()] {
        let request = Request::get("/facts")
            .header("authorization", format!("Bearer {key}"))
            .body(Full::default());
        let mut answer = refused(&stage, request.unwrap()).await;
        assert!(
            matches!(answer.kind, Some(RefusalKind::InvalidKey(_))),
            "{key:?}: {:?}",
            answer.kind
        );
        assert!(!answer.body.to_string().contains(key), "the key is echoed");
        answer.body["requestId"] = "".into();
        answer.headers.remove("x-request-id");
        texts.push((answer.status, format!("{:?}", answer.headers), answer.body));
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
    assert_eq!(texts[0].0, 401);
}

#[tokio::test]
async fn two_keys_or_unreadable_ones_are_a_bad_request() {
    let stage = Stage::new(FIVE).await;
    let key = stage.key.expose();
    let twice = Request::get("/")
        .header("x-api-key", key)
        .header("x-api-key", key);
    let both = Request::get("/")
        .header("x-api-key", key)
        .header("authorization", format!("Bearer {key}"));
    let two_bearers = Request::get("/")
        .header("authorization", format!("Bearer {key}"))
        .header("authorization", "Bearer hm_live_other");
    let bytes = Request::get("/").header("x-api-key", HeaderValue::from_bytes(&[0xff, 0xfe]).unwrap());
    for request in [twice, both, two_bearers, bytes] {
        let answer = refused(&stage, request.body(Full::default()).unwrap()).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &"unreadable_api_key".into())
        );
    }
}

#[tokio::test]
async fn a_foreign_bearer_token_beside_a_key_is_left_to_the_handler() {
    let stage = Stage::new(FIVE).await;
    let mut request = stage.request();
    request.headers_mut().insert(
        "authorization",
        "Bearer eyJhbGciOiJub25lIn0.e30.".parse().unwrap(),
    );
    let response = stage
        .meter
        .layer("facts")
        .layer(handler(facts))
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_key_is_taken_from_either_header() {
    let stage = Stage::new(FIVE).await;
    for value in ["Bearer ", "bearer ", "BEARER   "] {
        let request = Request::get("/").header("authorization", format!("{value}{}", stage.key.expose()));
        let request = request.body(Full::default()).unwrap();
        let response = stage
            .meter
            .layer("facts")
            .layer(handler(facts))
            .oneshot(request)
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{value:?}");
    }
}

#[tokio::test]
async fn a_missing_scope_is_forbidden_and_recorded() {
    let stage = Stage::with(FIVE, vec!["facts:read".to_owned()], |builder| builder).await;
    let layer = stage.meter.layer("facts").require_scope("facts:read");
    assert_eq!(
        layer
            .clone()
            .layer(handler(facts))
            .oneshot(stage.request())
            .await
            .unwrap()
            .status(),
        200
    );
    let layer = layer.require_scope("facts:write");
    let response = layer
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    let events = stage.events().await;
    assert_eq!(
        (events[1].outcome, events[1].refusal.as_deref()),
        (Outcome::Refused, Some("missing_scope"))
    );
}

#[tokio::test]
async fn a_refusal_shows_the_limits_even_if_it_is_the_first_request() {
    let stage = Stage::new(FIVE).await;
    let layer = stage.meter.layer("facts").require_scope("facts:write");
    let response = layer
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    assert_eq!(
        (
            &response.headers()["x-ratelimit-used"],
            &response.headers()["x-ratelimit-remaining"]
        ),
        (&"0".parse().unwrap(), &"5".parse().unwrap())
    );
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_when_the_meter_is_told() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    assert_eq!(
        service.clone().oneshot(stage.request()).await.unwrap().status(),
        200
    );
    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    stage.meter.forget_key(stage.key_id);
    assert_eq!(service.oneshot(stage.request()).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_shut_down_meter_refuses() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    assert_eq!(
        service.clone().oneshot(stage.request()).await.unwrap().status(),
        200
    );
    let report = stage.meter.shutdown(std::time::Duration::from_secs(5)).await;
    assert!(report.recorded && report.released, "{report:?}");
    let response = service.oneshot(with_key(stage.key.expose())).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            response.headers()["retry-after"].to_str().unwrap()
        ),
        (503, "1")
    );
}
