//! The service that everything is put around, and one request through it.

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::extract::ConnectInfo;
use governor::middleware::StateInformationMiddleware;
use hm_metering::PeerAddress;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::Service;
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::PeerIpKeyExtractor;

/// The body of every answer.
pub const ANSWER: &str = "facts";

/// Answers at once with a short body.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Service<Request<Body>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Body::from(ANSWER))))
    }
}

/// The limiter that `tower_governor` makes, with its headers on, and limits that nobody reaches.
#[must_use]
pub fn governor_layer() -> GovernorLayer<PeerIpKeyExtractor, StateInformationMiddleware, Body> {
    let config = GovernorConfigBuilder::default()
        .per_nanosecond(1)
        .burst_size(1_000_000_000)
        .key_extractor(PeerIpKeyExtractor)
        .use_headers()
        .finish()
        .expect("neither the rate nor the burst is zero");
    GovernorLayer::new(config)
}

/// A request as a server hands it on: with the address of its peer, and with a key. All compared services get the same.
#[must_use]
pub fn request(key: &str, peer: u32) -> Request<Body> {
    // Addresses of the block for private use, one for each number below 2^24.
    let peer = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() | peer);
    Request::post("/api/v1/data")
        .header("x-api-key", key)
        .extension(ConnectInfo(SocketAddr::from((peer, 40_000))))
        .extension(PeerAddress(IpAddr::V4(peer)))
        .body(Body::empty())
        .expect("all parts are valid")
}

/// Sends one request through and reads its answer to the end.
///
/// # Panics
/// When the answer is not 200: a refused request is cheaper, and must not pass for one that was served.
pub async fn serve<S, B>(service: &mut S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: http_body::Body,
    B::Error: fmt::Debug,
{
    std::future::poll_fn(|cx| service.poll_ready(cx))
        .await
        .expect("ready");
    let response = service.call(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let body = pin!(response.into_body());
    body.collect().await.expect("a whole body");
}

/// Drives a future to its end on this thread, and says whether it was ready without waiting for anything. To be called
/// inside the runtime's context ([`Runtime::enter`]), which is not entered anew for each request.
pub fn drive<T>(runtime: &Runtime, future: impl Future<Output = T>) -> (T, bool) {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => (done, true),
        Poll::Pending => (runtime.block_on(future), false),
    }
}
