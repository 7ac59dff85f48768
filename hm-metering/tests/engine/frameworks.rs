//! The same meter in axum, plain Tower and Salvo.

use std::time::Duration;

use axum::Router as AxumRouter;
use axum::body::Body;
use axum::routing::{get, post};
use hm_metering::usage::Outcome;
use hm_metering::{Charge, MeterName, Principal, RateLimitLayer, Units};
use http_body_util::BodyExt;
use salvo::http::StatusError;
use salvo::prelude::*;
use salvo::test::{ResponseExt, TestClient};
use tower::ServiceExt;

use crate::stage::{FIVE, Stage};

const HEADERS: [&str; 7] = [
    "x-ratelimit-limit",
    "x-ratelimit-used",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
    "x-request-id",
];

fn all_there(headers: &http::HeaderMap) {
    for name in HEADERS {
        assert!(headers.contains_key(name), "{name} is missing in {headers:?}");
    }
}

#[tokio::test]
async fn in_axum_handlers_take_principal_and_charge_as_arguments() {
    async fn chat(caller: Principal, charge: Charge) -> String {
        charge.add(&MeterName::REQUESTS, Units::new(2));
        caller.plan().to_string()
    }
    let stage = Stage::new(FIVE).await;
    let app = AxumRouter::new()
        .route("/chat/{room}", post(chat))
        .layer(stage.meter.layer("chat").cost(3));
    let request = http::Request::post("/chat/7?x=1")
        .header("x-api-key", stage.key.expose())
        .body(Body::empty());
    let response = app.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    all_there(response.headers());
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "free");
    let event = stage.event().await;
    assert_eq!(
        (event.endpoint.as_str(), event.operation.as_str()),
        ("/chat/{room}", "chat")
    );
    assert_eq!(event.units_of(&MeterName::REQUESTS), Units::new(2));
}

#[tokio::test]
async fn in_axum_a_handler_without_a_layer_answers_500() {
    async fn chat(_: Principal) {}
    let app: AxumRouter = AxumRouter::new().route("/", get(chat));
    let response = app
        .oneshot(http::Request::get("/").body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), 500);
}

#[handler]
async fn facts(req: &mut salvo::Request, depot: &mut Depot) -> Result<String, StatusError> {
    let caller = req.extensions().get::<Charge>().unwrap().principal();
    assert!(
        depot.get::<String>("before").is_ok(),
        "what earlier handlers kept is there"
    );
    if req.query::<bool>("fail").unwrap_or(false) {
        return Err(StatusError::bad_request().brief("a useful explanation"));
    }
    Ok(caller.plan().to_string())
}

#[handler]
async fn before(depot: &mut Depot) {
    depot.insert("before", "kept".to_owned());
}

#[handler]
async fn stream(res: &mut salvo::Response) {
    res.stream(futures_util::stream::iter(
        ["a", "b"].map(Ok::<_, std::io::Error>),
    ));
}

fn salvo_service(stage: &Stage) -> salvo::Service {
    let layer = stage.meter.layer("facts");
    let native = Router::with_path("native/{id}")
        .hoop(before)
        .hoop(layer.clone().hoop());
    let router = Router::new()
        .push(native.get(facts).push(Router::with_path("stream").get(stream)))
        .push(
            Router::with_path("tower")
                .hoop(before)
                .hoop(layer.compat())
                .get(facts),
        );
    salvo::Service::new(router)
}

fn salvo_get(stage: &Stage, path: &str) -> salvo::test::RequestBuilder {
    TestClient::get(format!("http://localhost{path}")).add_header("x-api-key", stage.key.expose(), true)
}

#[tokio::test]
async fn in_salvo_the_native_handler_meters() {
    let stage = Stage::new(FIVE).await;
    let service = salvo_service(&stage);
    let mut response = salvo_get(&stage, "/native/7").send(&service).await;
    assert_eq!(response.status_code, Some(StatusCode::OK));
    all_there(response.headers());
    assert_eq!(response.take_string().await.unwrap(), "free");
    let event = stage.event().await;
    assert_eq!(
        (event.endpoint.as_str(), event.outcome),
        ("/native/{id}", Outcome::Completed)
    );
    assert_eq!(event.units_of(&MeterName::REQUESTS), Units::ONE);
}

#[tokio::test]
async fn in_salvo_the_native_handler_keeps_error_bodies() {
    let stage = Stage::new(FIVE).await;
    let mut response = salvo_get(&stage, "/native/7?fail=true")
        .add_header("accept", "application/json", true)
        .send(&salvo_service(&stage))
        .await;
    assert_eq!(response.status_code, Some(StatusCode::BAD_REQUEST));
    all_there(response.headers());
    assert!(
        response
            .take_string()
            .await
            .unwrap()
            .contains("a useful explanation")
    );
    let event = stage.event().await;
    assert_eq!(
        (event.status, event.units_of(&MeterName::REQUESTS)),
        (400, Units::ONE)
    );
}

#[tokio::test]
async fn in_salvo_a_stream_is_settled_at_its_end() {
    let stage = Stage::new(FIVE).await;
    let service = salvo_service(&stage);
    let mut response = salvo_get(&stage, "/native/7/stream").send(&service).await;
    assert!(stage.events().await.is_empty(), "the stream has not been read");
    assert_eq!(response.take_string().await.unwrap(), "ab");
    assert_eq!(stage.event().await.outcome, Outcome::Completed);
    drop(salvo_get(&stage, "/native/7/stream").send(&service).await);
    assert_eq!(stage.events().await[1].outcome, Outcome::ClientGone);
}

#[tokio::test]
async fn in_salvo_a_refusal_is_a_problem_document_and_the_handler_is_not_called() {
    let stage = Stage::new(FIVE).await;
    let service = salvo_service(&stage);
    let mut response = TestClient::get("http://localhost/native/7").send(&service).await;
    assert_eq!(response.status_code, Some(StatusCode::UNAUTHORIZED));
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: serde_json::Value = response.take_json().await.unwrap();
    assert_eq!(body["code"], "missing_api_key");
    for _ in 0..5 {
        assert_eq!(
            salvo_get(&stage, "/native/7").send(&service).await.status_code,
            Some(StatusCode::OK)
        );
    }
    let response = salvo_get(&stage, "/native/7").send(&service).await;
    assert_eq!(response.status_code, Some(StatusCode::TOO_MANY_REQUESTS));
    all_there(response.headers());
}

#[tokio::test]
async fn in_salvo_the_tower_adapter_works_too() {
    let stage = Stage::new(FIVE).await;
    let service = salvo_service(&stage);
    let mut response = salvo_get(&stage, "/tower").send(&service).await;
    assert_eq!(response.status_code, Some(StatusCode::OK));
    all_there(response.headers());
    assert_eq!(response.take_string().await.unwrap(), "free");
    assert_eq!(stage.event().await.endpoint, "/tower");
}

#[tokio::test]
async fn in_salvo_a_panicking_handler_is_recorded() {
    #[handler]
    async fn panicking(req: &mut salvo::Request) {
        assert!(req.headers().is_empty(), "a handler's mistake");
    }
    let stage = Stage::new(FIVE).await;
    let router = Router::new()
        .hoop(stage.meter.layer("facts").hoop())
        .get(panicking);
    let service = std::sync::Arc::new(salvo::Service::new(router));
    let request = salvo_get(&stage, "/");
    let served = tokio::spawn(async move { request.send(&*service).await.status_code });
    assert!(served.await.unwrap_err().is_panic());
    let event = stage.event().await;
    assert_eq!(
        (event.outcome, event.status, event.units.len()),
        (Outcome::Panicked, 500, 0)
    );
}

#[tokio::test]
async fn the_rate_limit_by_address_works_in_axum_and_salvo() {
    let layer = RateLimitLayer::new(2, Duration::from_secs(3_600));
    let app = AxumRouter::new()
        .route("/login", post(|| async { "in" }))
        .layer(layer.clone());
    let service = salvo::Service::new(Router::with_path("login").hoop(layer.hoop()).post(login));
    let request = || http::Request::post("/login").body(Body::empty()).unwrap();
    assert_eq!(app.clone().oneshot(request()).await.unwrap().status(), 200);
    let client = || TestClient::post("http://localhost/login").send(&service);
    assert_eq!(client().await.status_code, Some(StatusCode::OK));
    // Both share one bucket: neither knows the client's address here.
    assert_eq!(client().await.status_code, Some(StatusCode::TOO_MANY_REQUESTS));
    let refused = app.oneshot(request()).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1800");
}

#[handler]
async fn login() -> &'static str {
    "in"
}
