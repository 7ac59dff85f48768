//! An axum service that sells facts: keys, a rate limit, a daily quota and a ledger, kept in one SQLite file, with a
//! journal beside it so that nothing is lost when the process is killed.
//!
//! `cargo run -p example-axum` prints a key and a command to try it with. Its quota is 20 units a day and a fact takes
//! 5, so the fifth request is refused.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use hm_metering::keys::KeyIssuer;
use hm_metering::{
    AccountId, Clock, IssuedKey, KeyEnv, KeyStore, Meter, Pepper, Peppers, PlanId, Plans, Principal,
    StoredKeyVerifier, SystemClock, UserId,
};
use hm_metering_seaorm::SeaOrmStore;
use tokio::net::TcpListener;
use uuid::Uuid;

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "the key is what the user of the example came for"
)]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = SeaOrmStore::open("sqlite://example-axum.sqlite?mode=rwc").await?;
    // In earnest the pepper is a secret from your configuration. Keys made with it need it for ever.
    let peppers = Peppers::new(Pepper::new(1, b"a pepper of 32 bytes, or longer.")?);
    let key = sign_up(&store, peppers.clone()).await?;
    println!(
        "curl -i http://127.0.0.1:3000/fact -H 'X-API-Key: {}'",
        key.expose()
    );
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    serve(
        listener,
        store,
        peppers,
        Path::new("example-axum.journal"),
        interrupted(),
    )
    .await
}

/// Serves until `stop` is ready, finishes the requests that are under way, and completes the ledger.
async fn serve(
    listener: TcpListener,
    store: SeaOrmStore,
    peppers: Peppers,
    journal: &Path,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), peppers))
        .plans(Plans::from_toml(include_str!("../plans.toml"))?)
        .quota(store.clone())
        .usage(store)
        .journal(journal)
        .start()
        .await?;
    let app = Router::new()
        .route("/fact", get(fact))
        .layer(meter.layer("facts").cost(5));

    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    let report = meter.shutdown(Duration::from_secs(10)).await;
    assert!(report.recorded, "the ledger could not be completed");
    Ok(())
}

async fn fact(caller: Principal) -> String {
    format!("A fact for account {}: honey does not spoil.\n", caller.account())
}

/// Opens an account and makes a key for it, as your sign-up page would.
async fn sign_up(store: &SeaOrmStore, peppers: Peppers) -> Result<IssuedKey, Box<dyn Error>> {
    let now = SystemClock::new().now();
    let account = AccountId::from_uuid(Uuid::now_v7());
    store
        .open_account(account, "Example", &PlanId::from_static("free"), now)
        .await?;
    let user = UserId::from_uuid(Uuid::now_v7());
    let (key, record) = KeyIssuer::new(peppers)?.issue(account, user, "first", KeyEnv::Live, now)?;
    store.insert(&record).await?;
    Ok(key)
}

async fn interrupted() {
    // Without a signal handler there is nothing to wait for; the service then runs until it is killed.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
