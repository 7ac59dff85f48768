//! Layers around layers, and services that are not ready.

use bytes::Bytes;
use hm_metering::{Charge, MeterName, RequestId, Units};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

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
