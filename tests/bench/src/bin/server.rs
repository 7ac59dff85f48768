//! The servers that are loaded over loopback, one for each service that is compared.
//!
//! `bench-server` prints a line `SERVICE ADDRESS KEY` for each and serves until its standard input ends. `journal` is `full` with
//! a journal in a file, `spent` is `full` for a caller who has nothing left, so that all of its answers are 429. `headers` and
//! `refusal` do nothing but send as many bytes as `full` and `spent` do: nobody who sends them can be faster.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "it prints its addresses, and can't go on without its set-up"
)]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use hm_bench::fixture::{Accounts, Limits, OPERATION};
use hm_bench::service::{ANSWER, governor_layer};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The headers of a metered answer.
const HEADERS: [(&str, &str); 7] = [
    ("x-ratelimit-limit", "999999999999"),
    ("x-ratelimit-used", "1000000"),
    ("x-ratelimit-remaining", "999998999999"),
    ("x-ratelimit-reset", "2026-12-01"),
    (
        "ratelimit-policy",
        "\"month\";q=999999999999;w=2592000, \"second\";q=1000000000;w=1, \"minute\";q=4000000000;w=60",
    ),
    ("ratelimit", "\"month\";r=999998999999;t=1036800"),
    ("x-request-id", "0198f2a4-7c1e-7d3a-9b52-6f0e8c4d1a27"),
];

/// Those that a refusal has besides, and its document.
const REFUSAL_HEADERS: [(&str, &str); 3] = [
    ("retry-after", "3600"),
    ("cache-control", "no-store"),
    ("content-type", "application/problem+json"),
];
const REFUSAL: &str = r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Quota Exceeded","status":429,"detail":"The hour limit allows 1 in its window; this request needs 1, 0 are left.","code":"rate_limited","requestId":"0198f2a4-7c1e-7d3a-9b52-6f0e8c4d1a27","retryAfter":3600,"violated-policies":["hour"]}"#;

#[tokio::main]
async fn main() {
    let accounts = Accounts::new();
    let full = accounts.add(Limits::Full).await;
    let spent = accounts.add(Limits::Spent).await;
    // The store is the sink as well, as in a service of one process.
    let meter = accounts.meter().usage(accounts.store().clone());
    let meter = meter.start().await.expect("a meter");
    let bare = Router::new().route("/", get(async || ANSWER));
    let metered = || bare.clone().route_layer(meter.layer(OPERATION));
    let directory = TempDir::new().expect("a directory");
    let journalling = accounts.meter().usage(accounts.store().clone());
    let journalling = journalling.journal(directory.path());
    let journalling = journalling.start().await.expect("a meter");

    start("bare", bare.clone(), full.expose()).await;
    start(
        "governor",
        bare.clone().route_layer(governor_layer()),
        full.expose(),
    )
    .await;
    start("full", metered(), full.expose()).await;
    let journalled = bare.clone().route_layer(journalling.layer(OPERATION));
    start("journal", journalled, full.expose()).await;
    start("spent", metered(), spent.expose()).await;
    let headers = Router::new().route("/", get(async || (HEADERS, ANSWER)));
    start("headers", headers, full.expose()).await;
    let refuse = async || (StatusCode::TOO_MANY_REQUESTS, HEADERS, REFUSAL_HEADERS, REFUSAL);
    start("refusal", Router::new().route("/", get(refuse)), spent.expose()).await;

    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await.expect("no panic").expect("a readable input");
}

async fn start(name: &str, router: Router, key: &str) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    println!("{name} {address} {key}");
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, service).await });
}
