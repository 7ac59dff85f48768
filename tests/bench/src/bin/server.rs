//! The servers that are loaded over loopback, one for each service that is compared.
//!
//! `bench-server` prints a line `SERVICE ADDRESS KEY` for each and serves until its standard input ends. `journal` is `full` with
//! a journal in a file, `spent` is `full` for a caller who has nothing left, so that all of its answers are 429.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "it prints its addresses, and can't go on without its set-up"
)]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::routing::get;
use hm_bench::fixture::{Accounts, Limits, OPERATION};
use hm_bench::service::{ANSWER, governor_layer};
use tempfile::TempDir;
use tokio::net::TcpListener;

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
