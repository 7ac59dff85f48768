//! What a layer adds to a request: bare handler, rate limit alone, `tower_governor`, the full layer. In one process, without
//! sockets, in one run; compare the lines with each other, not with other machines.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark is a program of its own"
)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hm_metering::keys::KeyIssuer;
use hm_metering::{
    AccountId, IssuedKey, KeyEnv, KeyStore, MemoryStore, Meter, PeerAddress, Pepper, Peppers, PlanId, Plans,
    RateLimitLayer, StoredKeyVerifier, Timestamp, UserId,
};
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::runtime::Runtime;
use tower::{Layer, Service};
use tower_governor::GovernorLayer;
use tower_governor::governor::GovernorConfigBuilder;
use tower_governor::key_extractor::PeerIpKeyExtractor;
use uuid::Uuid;

/// Answers at once with a short body.
#[derive(Clone)]
struct Bare;

impl Service<Request<Body>> for Bare {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(Body::from("facts"))))
    }
}

/// Sends one request through and reads its answer to the end.
async fn serve<S, B>(service: &mut S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: std::fmt::Debug,
    B: http_body::Body + Unpin,
    B::Error: std::fmt::Debug,
{
    std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
}

fn request(key: Option<&str>) -> Request<Body> {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    let mut request = Request::post("/api/v1/data").body(Body::empty()).unwrap();
    if let Some(key) = key {
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    request
        .extensions_mut()
        .insert(PeerAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    request
}

/// A meter in memory with room for any number of requests, and a key for it.
async fn meter() -> (Meter, IssuedKey) {
    let store = MemoryStore::new();
    let peppers = Peppers::new(Pepper::new(1, &[7; 32]).unwrap());
    let (account, plan, now) = (
        AccountId::from_uuid(Uuid::now_v7()),
        PlanId::from_static("pro"),
        Timestamp::from_micros(0),
    );
    store.add_account(account, plan, now);
    let issuer = KeyIssuer::new(peppers.clone()).unwrap();
    let user = UserId::from_uuid(Uuid::now_v7());
    let (key, record) = issuer.issue(account, user, "bench", KeyEnv::Live, now).unwrap();
    store.insert(&record).await.unwrap();
    let plans = r#"
        [pro]
        rates = [
            { name = "second", limit = 1000000000, per_seconds = 1 },
            { name = "minute", limit = 4000000000, per_seconds = 60 },
        ]
        quotas = [{ meter = "requests", limit = 999999999999, period = "calendar_month" }]
    "#;
    let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), peppers))
        .plans(Plans::from_toml(plans).unwrap())
        .quota(store.clone())
        .usage(store)
        .start()
        .await
        .unwrap();
    (meter, key)
}

fn overhead(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let (meter, key) = runtime.block_on(meter());
    let full = meter.layer("data.query").layer(Bare);
    let rate = RateLimitLayer::new(1_000_000_000, Duration::from_secs(1)).layer(Bare);
    let config = GovernorConfigBuilder::default()
        .per_nanosecond(1)
        .burst_size(1_000_000_000)
        .key_extractor(PeerIpKeyExtractor)
        .use_headers()
        .finish()
        .unwrap();
    let governor = GovernorLayer::new(config).layer(Bare);
    let key = key.expose();

    let mut group = criterion.benchmark_group("request");
    group.throughput(Throughput::Elements(1));
    macro_rules! line {
        ($name:literal, $service:expr, $key:expr) => {
            group.bench_function($name, |bencher| {
                let mut service = $service.clone();
                runtime.block_on(serve(&mut service, request($key)));
                bencher.to_async(&runtime).iter_batched(
                    || (service.clone(), request($key)),
                    |(mut service, request)| async move { serve(&mut service, request).await },
                    BatchSize::SmallInput,
                );
            });
        };
    }
    line!("bare", Bare, None);
    line!("rate limit alone", rate, None);
    line!("tower_governor", governor, None);
    line!("full layer", full, Some(key));
    group.finish();
    runtime.block_on(meter.shutdown(Duration::from_secs(5)));
}

criterion_group!(benches, overhead);
criterion_main!(benches);
