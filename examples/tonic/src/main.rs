//! A gRPC service with a stream behind the layer. It counts for money: each number of a stream is a unit.
//!
//! `cargo run -p example-tonic` prints a key. The service is written by hand in `service.rs`, so that nothing has to be
//! generated; with generated code the layer is put around the service in the same way.

#![forbid(unsafe_code)]

mod service;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::time::Duration;

use hm_metering::keys::KeyIssuer;
use hm_metering::{
    AccountId, Clock, IssuedKey, KeyEnv, KeyStore, MemoryStore, Meter, Pepper, Peppers, PlanId, Plans,
    StoredKeyVerifier, SystemClock, UserId,
};
use service::CountingServer;
use tokio::net::TcpListener;
use tonic::service::LayerExt;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::ServiceBuilder;
use uuid::Uuid;

const PLANS: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 10, period = "anchored_month" }]
"#;

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "the key is what the user of the example came for"
)]
async fn main() -> Result<(), Box<dyn Error>> {
    let (meter, key) = metering(MemoryStore::new()).await?;
    println!(
        "counting.Counting/Count on 127.0.0.1:50051, with the metadata x-api-key: {}",
        key.expose()
    );
    serve(TcpListener::bind("127.0.0.1:50051").await?, &meter, async {
        // Without a signal handler there is nothing to wait for; the service then runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
    .await?;
    let report = meter.shutdown(Duration::from_secs(10)).await;
    assert!(report.recorded, "the ledger could not be completed");
    Ok(())
}

async fn serve(
    listener: TcpListener,
    meter: &Meter,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let counting = ServiceBuilder::new()
        .layer(meter.layer("counting").cost(service::LAST_MAX))
        .named_layer(CountingServer);
    Server::builder()
        .add_service(counting)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
        .await
}

/// A meter over `store`, and a key for an account in it.
async fn metering(store: MemoryStore) -> Result<(Meter, IssuedKey), Box<dyn Error>> {
    // In earnest the pepper is a secret from your configuration. Keys made with it need it for ever.
    let peppers = Peppers::new(Pepper::new(1, b"a pepper of 32 bytes, or longer.")?);
    let now = SystemClock::new().now();
    let account = AccountId::from_uuid(Uuid::now_v7());
    store.add_account(account, PlanId::from_static("free"), now);
    let user = UserId::from_uuid(Uuid::now_v7());
    let (key, record) = KeyIssuer::new(peppers.clone())?.issue(account, user, "first", KeyEnv::Live, now)?;
    store.insert(&record).await?;
    let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), peppers))
        .plans(Plans::from_toml(PLANS)?)
        .quota(store.clone())
        .usage(store)
        .start()
        .await?;
    Ok((meter, key))
}
