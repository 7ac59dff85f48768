//! Answers to gRPC calls, and the traces of decisions.

use std::sync::Arc;

use bytes::Bytes;
use hm_metering::meter::KeyState;
use hm_metering::usage::Outcome;
use hm_metering::{
    Admit, Call, DecisionTrace, KeyStore, MeterName, Operation, OperationName, RateLimitLayer, Refusal, Units,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use salvo::prelude::{Router, Service, handler as salvo_handler};
use salvo::test::TestClient;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

const ONE: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 1, period = "anchored_month" }]
"#;

fn grpc(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request
        .headers_mut()
        .insert("content-type", "application/grpc+proto".parse().unwrap());
    request
}

fn is_refused(headers: &HeaderMap, code: &str) {
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["grpc-status"], code, "{headers:?}");
    assert!(headers.contains_key("grpc-message") && headers.contains_key("grpc-status-details-bin"));
}

#[tokio::test]
async fn a_refused_grpc_call_ends_with_its_head_and_is_recorded_as_what_it_was() {
    let stage = Stage::new(ONE).await;
    let service = stage.meter.layer("facts").layer(handler(facts));
    let served = service.clone().oneshot(grpc(stage.request())).await.unwrap();
    assert!(!served.headers().contains_key("grpc-status"));
    drop(served);
    let response = service.clone().oneshot(grpc(stage.request())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.body().is_end_stream());
    is_refused(response.headers(), "8");
    assert_eq!(response.headers()["x-ratelimit-remaining"], "0");
    assert_eq!(response.headers()["grpc-retry-pushback-ms"], "-1");
    assert_eq!(response.extensions().get::<Refusal>().unwrap().status(), 429);
    let body = response.into_body().collect().await.unwrap();
    assert!(
        body.trailers().is_none(),
        "limit headers don't belong into trailers"
    );
    let request = Request::post("/facts").body(Full::default()).unwrap();
    let response = service.oneshot(grpc(request)).await.unwrap();
    is_refused(response.headers(), "16");
    assert!(!response.headers().contains_key("ratelimit"));
    let event = stage.events().await.pop().unwrap();
    assert_eq!((event.status, event.outcome), (429, Outcome::Refused));
    assert_eq!(event.refusal.as_deref(), Some("quota_exceeded"));
}

#[tokio::test]
async fn a_grpc_call_is_answered_alike_by_every_face() {
    #[salvo_handler]
    async fn data() -> &'static str {
        "facts"
    }
    let stage = Stage::new(ONE).await;
    let hoop = stage.meter.layer("facts").require_scope("facts:write").hoop();
    let service = Service::new(Router::with_path("data").hoop(hoop).post(data));
    let response = TestClient::post("http://127.0.0.1/data")
        .add_header("x-api-key", stage.key.expose(), true)
        .add_header("content-type", "application/grpc", true)
        .send(&service)
        .await;
    assert_eq!(response.status_code.unwrap(), 200);
    is_refused(&response.headers, "7");
    let trace = response.extensions.get::<DecisionTrace>().unwrap();
    assert_eq!(trace.refusal().unwrap().scope(), Some("facts:write"));

    let twice = stage.meter.layer("inner").require_scope("facts:write");
    let twice = stage.meter.layer("outer").layer(twice.layer(handler(facts)));
    let response = twice.oneshot(grpc(stage.request())).await.unwrap();
    is_refused(response.headers(), "7");

    let limited = RateLimitLayer::new(1, std::time::Duration::from_secs(60)).layer(handler(facts));
    limited.clone().oneshot(grpc(stage.request())).await.unwrap();
    let response = limited.oneshot(grpc(stage.request())).await.unwrap();
    is_refused(response.headers(), "8");
}

async fn traced<S, B>(service: S, request: Request<Full<Bytes>>) -> DecisionTrace
where
    S: tower::Service<Request<Full<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
{
    let response = service.oneshot(request).await.unwrap();
    response.extensions().get::<DecisionTrace>().unwrap().clone()
}

#[tokio::test]
async fn a_refusal_says_in_its_response_why_it_came_to_be() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").cost(3).layer(handler(facts));
    service.clone().oneshot(stage.request()).await.unwrap();
    let trace = traced(service.clone(), stage.request()).await;
    assert_eq!(trace.account(), Some(stage.account));
    assert_eq!(trace.key(), Some(stage.key_id));
    assert_eq!(trace.key_state(), KeyState::Accepted);
    let limits = trace.limits();
    assert_eq!(limits.len(), 1);
    assert_eq!(
        (
            limits[0].name,
            limits[0].violated,
            limits[0].needed,
            limits[0].used
        ),
        ("month", true, Some(Units::new(3)), Some(Units::new(3)))
    );
    assert!(limits[0].reset > Some(stage.now()));

    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    stage.meter.forget_key(stage.key_id);
    let trace = traced(service.clone(), stage.request()).await;
    assert_eq!(trace.key_state().as_str(), "revoked");
    for text in [format!("{trace:?}"), serde_json::to_string(&trace).unwrap()] {
        assert!(!text.contains(stage.key.expose()), "{text}");
    }
    let missing = Request::post("/facts").body(Full::default()).unwrap();
    assert_eq!(traced(service, missing).await.key_state(), KeyState::Missing);
}

#[tokio::test]
async fn a_request_that_is_let_through_can_be_traced_as_well() {
    let stage = Stage::new(FIVE).await;
    let tokens = MeterName::from_static("tokens");
    let operation = Operation::new(OperationName::from_static("facts")).cost(tokens, Units::new(9));
    let request = stage.request();
    let call = Call::new(&Method::POST, request.headers(), "/facts");
    let admission = match stage.meter.admit(&Arc::new(operation), call) {
        Admit::Ready(decision) => decision.unwrap(),
        Admit::Pending(decision) => decision.await.unwrap(),
    };
    let trace = serde_json::to_value(admission.trace()).unwrap();
    assert_eq!(trace["decision"], "allowed");
    assert_eq!(trace["accountId"], stage.account.to_string());
    assert_eq!(
        trace["limits"],
        serde_json::json!([{
            "name": "month",
            "violated": false,
            "limit": 5,
            "used": 1,
            "remaining": 4,
            "reset": "2026-12-25T00:00:00Z",
        }])
    );
    assert_eq!(
        trace["costs"][1],
        serde_json::json!({ "meter": "tokens", "units": 9 })
    );
}

#[tokio::test]
async fn an_answer_keeps_its_own_headers_and_tells_limits_once() {
    let stage = Stage::new(FIVE).await;
    // Few headers, each of them once; and some that come twice.
    for twice in [false, true] {
        let answer = handler(move |_: Request<Full<Bytes>>| async move {
            let mut response = Response::new(Full::<Bytes>::from("facts"));
            for (name, value) in [
                ("set-cookie", "a=1"),
                ("x-request-id", "of-the-handler"),
                ("ratelimit", "\"upstream\";r=7;t=1"),
                ("x-ratelimit-used", "77"),
                ("x-upstream", "yes"),
            ] {
                for _ in 0..=usize::from(twice) {
                    response
                        .headers_mut()
                        .append(HeaderName::from_static(name), HeaderValue::from_static(value));
                }
            }
            Ok(response)
        });
        let service = stage.meter.layer("facts").layer(answer);
        let response = service.oneshot(stage.request()).await.unwrap();
        let values = |name: &str| -> Vec<_> {
            let values = response.headers().get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        let times = 1 + usize::from(twice);
        assert_eq!(values("set-cookie"), vec!["a=1"; times]);
        assert_eq!(values("x-request-id"), vec!["of-the-handler"; times]);
        assert_eq!(values("x-upstream"), vec!["yes"; times]);
        assert_eq!(values("x-ratelimit-used"), [(1 + usize::from(twice)).to_string()]);
        let [state] = &values("ratelimit")[..] else {
            panic!("{:?}", values("ratelimit"))
        };
        assert!(state.starts_with("\"month\";r="), "{state}");
    }
}
