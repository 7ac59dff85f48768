//! Layers around layers, and services that are not ready.

use std::time::Duration;

use bytes::Bytes;
use hm_metering::usage::Outcome;
use hm_metering::{Charge, ChargeRule, MeterName, RateLimitLayer, RequestId, Units};
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use salvo::prelude::*;
use salvo::test::{ResponseExt, TestClient};
use tower::{Layer, Service, ServiceExt};

use crate::log::{heard, listen};
use crate::stage::{FIVE, Stage, facts, handler};

/// What is said where a request passes two layers of one meter.
const TWICE: &str = "a request passes two metering layers; the inner one charges nothing";

#[tokio::test]
async fn applied_twice_it_charges_once() {
    let stage = Stage::new(FIVE).await;
    let layer = stage.meter.layer("facts");
    let response = layer
        .layer(layer.layer(handler(facts)))
        .oneshot(stage.request())
        .await
        .unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(stage.event().await.units_of(&MeterName::REQUESTS), Units::ONE);
}

#[tokio::test]
async fn an_inner_layer_still_asks_for_its_scope() {
    let stage = Stage::with(FIVE, vec!["read".to_owned()], |builder| builder).await;
    let outer = stage.meter.layer("api");
    let inner = stage.meter.layer("admin").require_scope("admin");
    let refused = outer
        .layer(inner.layer(handler(facts)))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    let inner = stage.meter.layer("reading").require_scope("read");
    let served = outer
        .layer(inner.layer(handler(facts)))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(served.status(), 200);
}

/// A request's status, headers and problem document.
async fn ask<S, B>(service: S, request: Request<Full<Bytes>>) -> (u16, HeaderMap, serde_json::Value)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = std::io::Error>,
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let problem = serde_json::from_slice(&body).unwrap_or_default();
    (parts.status.as_u16(), parts.headers, problem)
}

/// Checks that the last of this many events is a refusal that cost nothing, with the id that the caller was told.
async fn refused(stage: &Stage, events: usize, code: &str, told: (u16, HeaderMap, serde_json::Value)) {
    let (status, headers, problem) = told;
    let all = stage.events().await;
    assert_eq!(all.len(), events);
    let event = all.last().unwrap();
    assert_eq!(
        (event.outcome, event.status, event.refusal.as_deref()),
        (Outcome::Refused, status, Some(code))
    );
    assert_eq!((event.operation.as_str(), event.units.len()), ("api", 0));
    assert_eq!(headers["x-request-id"], event.request_id.as_str());
    assert_eq!(problem["code"], code);
    assert_eq!(problem["requestId"], event.request_id.as_str());
    let charged = all.iter().map(|event| event.units_of(&MeterName::REQUESTS).get());
    let charged: u64 = charged.sum();
    assert_eq!(headers["x-ratelimit-used"], charged.to_string());
    assert_eq!(stage.balance().await.used, Units::new(charged));
}

#[tokio::test]
async fn what_an_inner_layer_refuses_is_recorded_as_refused_and_costs_nothing() {
    for rule in [ChargeRule::OnSuccess, ChargeRule::Always] {
        let stage = Stage::new(FIVE).await;
        let outer = stage.meter.layer("api").charge(rule);
        let inner = stage.meter.layer("admin").require_scope("admin");
        let told = ask(outer.layer(inner.layer(handler(facts))), stage.request()).await;
        assert_eq!(told.0, 403);
        refused(&stage, 1, "missing_scope", told).await;
    }
}

#[tokio::test]
async fn what_a_rate_limit_inside_refuses_is_recorded_as_refused_and_costs_nothing() {
    let stage = Stage::new(FIVE).await;
    let inside = RateLimitLayer::new(1, Duration::from_secs(3_600)).layer(handler(facts));
    let service = stage.meter.layer("api").layer(inside);
    assert_eq!(ask(service.clone(), stage.request()).await.0, 200);
    let told = ask(service, stage.request()).await;
    assert_eq!(told.0, 429);
    assert!(told.1.contains_key("retry-after"));
    refused(&stage, 2, "rate_limited", told).await;
}

#[tokio::test]
async fn in_salvo_too_what_is_refused_inside_costs_nothing() {
    #[handler]
    async fn facts() -> &'static str {
        "facts"
    }
    let stage = Stage::new(FIVE).await;
    let api = || Router::with_path("api").hoop(stage.meter.layer("api").hoop());
    let scoped = Router::with_path("scoped").hoop(stage.meter.layer("admin").require_scope("admin").hoop());
    let limited =
        Router::with_path("limited").hoop(RateLimitLayer::new(1, Duration::from_secs(3_600)).hoop());
    let router = Router::new()
        .push(api().push(scoped.get(facts)))
        .push(api().push(limited.get(facts)));
    let service = salvo::Service::new(router);
    let cases = [
        ("limited", 200, ""),
        ("limited", 429, "rate_limited"),
        ("scoped", 403, "missing_scope"),
    ];
    for (number, (path, status, code)) in cases.into_iter().enumerate() {
        let mut response = TestClient::get(format!("http://localhost/api/{path}"))
            .add_header("x-api-key", stage.key.expose(), true)
            .send(&service)
            .await;
        assert_eq!(response.status_code.map(|status| status.as_u16()), Some(status));
        if status != 200 {
            let problem = response.take_json().await.unwrap();
            let told = (status, response.headers().clone(), problem);
            refused(&stage, number + 1, code, told).await;
        }
    }
}

#[tokio::test]
async fn two_layers_of_one_meter_are_mentioned_once_and_not_for_each_request() {
    let stage = Stage::new(FIVE).await;
    listen();
    let layer = stage.meter.layer("facts");
    let service = stage.meter.layer("api").layer(layer.layer(handler(facts)));
    for _ in 0..3 {
        assert_eq!(ask(service.clone(), stage.request()).await.0, 200);
    }
    assert_eq!(heard().events_of(TWICE).len(), 1);
}

#[tokio::test]
async fn layers_of_two_meters_both_meter_and_neither_does_so_twice() {
    let (ours, upstream) = (Stage::new(FIVE).await, Stage::new(FIVE).await);
    let account = upstream.account;
    let asking = handler(move |request: Request<Full<Bytes>>| async move {
        assert_eq!(
            request
                .extensions()
                .get::<Charge>()
                .unwrap()
                .principal()
                .account(),
            account
        );
        facts(request).await
    });
    // It is ours again behind the other one.
    let again = ours.meter.layer("again").layer(asking);
    let client = upstream.meter.layer("upstream").layer(again);
    let key = upstream.key.expose().to_owned();
    // A gateway sends on what it gets, extensions included.
    let gateway = handler(move |mut request: Request<Full<Bytes>>| {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        client.clone().oneshot(request)
    });
    let service = ours.meter.layer("api").layer(gateway);
    assert_eq!(ask(service.clone(), ours.request()).await.0, 200);
    let (mine, theirs) = (ours.event().await, upstream.event().await);
    for event in [&mine, &theirs] {
        assert_eq!(event.units_of(&MeterName::REQUESTS), Units::ONE);
    }
    assert_eq!(theirs.operation.as_str(), "upstream");
    assert_eq!(theirs.request_id, mine.request_id, "it is one request");
    assert_eq!(ours.balance().await.used, Units::ONE);
    assert_eq!(upstream.balance().await.used, Units::ONE);
    // What is left upstream holds, whatever is left of ours.
    let direct = upstream.meter.layer("upstream").layer(handler(facts));
    for _ in 0..4 {
        assert_eq!(ask(direct.clone(), upstream.request()).await.0, 200);
    }
    assert_eq!(ask(service, ours.request()).await.0, 429);
    assert_eq!(upstream.events().await.len(), 6);
    assert_eq!(ours.balance().await.used, Units::ONE);
}

#[tokio::test]
async fn in_salvo_too_a_handler_of_another_meter_meters() {
    #[handler]
    async fn facts() -> &'static str {
        "facts"
    }
    let (ours, other) = (Stage::new(FIVE).await, Stage::new(FIVE).await);
    let theirs = http::HeaderValue::from_str(other.key.expose()).unwrap();
    let router = Router::with_path("facts")
        .hoop(ours.meter.layer("api").hoop())
        .hoop(SwapKey(theirs))
        .hoop(other.meter.layer("inner").hoop())
        .hoop(ours.meter.layer("again").hoop())
        .get(facts);
    let response = TestClient::get("http://localhost/facts")
        .add_header("x-api-key", ours.key.expose(), true)
        .send(&salvo::Service::new(router))
        .await;
    assert_eq!(response.status_code, Some(StatusCode::OK));
    drop(response);
    for stage in [&ours, &other] {
        assert_eq!(stage.event().await.units_of(&MeterName::REQUESTS), Units::ONE);
        assert_eq!(stage.balance().await.used, Units::ONE);
    }
}

struct SwapKey(http::HeaderValue);

#[salvo::async_trait]
impl Handler for SwapKey {
    async fn handle(
        &self,
        req: &mut salvo::Request,
        _: &mut Depot,
        _: &mut salvo::Response,
        _: &mut FlowCtrl,
    ) {
        req.headers_mut().insert("x-api-key", self.0.clone());
    }
}

#[tokio::test]
async fn the_handler_sees_who_calls_and_the_request_id() {
    let stage = Stage::new(FIVE).await;
    let (account, key) = (stage.account, stage.key_id);
    let asking = handler(move |request: Request<Full<Bytes>>| async move {
        let caller = request.extensions().get::<Charge>().unwrap().principal();
        assert_eq!(
            (caller.account(), caller.key(), caller.plan().as_str()),
            (account, Some(key), "free")
        );
        let RequestId(id) = request.extensions().get::<Charge>().unwrap().request_id();
        Ok(Response::new(Full::<Bytes>::from(id)))
    });
    let mut request = stage.request();
    request
        .headers_mut()
        .insert("x-request-id", "mine-1".parse().unwrap());
    let response = stage
        .meter
        .layer("facts")
        .layer(asking)
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "mine-1");
    assert_eq!(stage.event().await.request_id, "mine-1");
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    /// Must be polled ready before each call; a clone is not ready.
    struct Strict(bool);
    impl Clone for Strict {
        fn clone(&self) -> Self {
            Self(false)
        }
    }
    impl Service<Request<Full<Bytes>>> for Strict {
        type Response = Response<Full<Bytes>>;
        type Error = std::io::Error;
        type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            self.0 = true;
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
            assert!(std::mem::take(&mut self.0), "called without being ready");
            std::future::ready(Ok(Response::new(Full::from("facts"))))
        }
    }
    let stage = Stage::new(FIVE).await;
    let mut service = stage.meter.layer("facts").layer(Strict(false));
    // The first request is cold, the second warm.
    for _ in 0..2 {
        assert_eq!(
            service
                .ready()
                .await
                .unwrap()
                .call(stage.request())
                .await
                .unwrap()
                .status(),
            200
        );
    }
}

#[tokio::test]
async fn a_body_of_known_length_stays_one() {
    let stage = Stage::new(FIVE).await;
    let response = stage
        .meter
        .layer("facts")
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(5));
    response.into_body().collect().await.unwrap();
}

#[test]
fn the_layer_and_its_services_can_be_shared_between_threads() {
    fn check<T: Send + Sync + Clone>() {}
    fn check_future<T: Send>(_: &T) {}
    type Service = hm_metering::layer::Metering<axum::routing::Route>;
    check::<hm_metering::MeteringLayer>();
    check::<hm_metering::Meter>();
    check::<hm_metering::RateLimitLayer>();
    check::<hm_metering::salvo::MeteringHoop>();
    let _ = |service: &mut Service, request: Request<axum::body::Body>| check_future(&service.call(request));
}
