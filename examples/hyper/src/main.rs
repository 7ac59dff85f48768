//! A plain hyper server that sells facts: the layer around a function, and hyper around the layer.
//!
//! `cargo run -p example-hyper` prints a key and a command to try it with. Its quota is four facts a month, kept in memory:
//! the fifth request is refused.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use hm_metering::keys::KeyIssuer;
use hm_metering::{
    AccountId, Charge, Clock, IssuedKey, KeyEnv, KeyStore, MemoryStore, Meter, Pepper, Peppers, PlanId,
    Plans, StoredKeyVerifier, SystemClock, UserId,
};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tower::{Layer, service_fn};
use uuid::Uuid;

const PLANS: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 4, period = "anchored_month" }]
"#;

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "the key is what the user of the example came for"
)]
async fn main() -> Result<(), Box<dyn Error>> {
    let (meter, key) = metering(MemoryStore::new()).await?;
    println!(
        "curl -i http://127.0.0.1:3000/fact -H 'X-API-Key: {}'",
        key.expose()
    );
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    serve(listener, &meter, async {
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

/// Serves until `stop` is ready, and then finishes the requests that are under way.
async fn serve(listener: TcpListener, meter: &Meter, stop: impl Future<Output = ()>) -> std::io::Result<()> {
    let service = TowerToHyperService::new(meter.layer("facts").layer(service_fn(fact)));
    let connections = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = &mut stop => break,
        };
        let server = auto::Builder::new(TokioExecutor::new());
        let connection = server
            .serve_connection(TokioIo::new(stream), service.clone())
            .into_owned();
        let connection = connections.watch(connection);
        // A connection that breaks is its client's loss; the requests on it are settled all the same.
        tokio::spawn(async move { drop(connection.await) });
    }
    connections.shutdown().await;
    Ok(())
}

async fn fact(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let caller = request.extensions().get::<Charge>().map(Charge::principal);
    let account = caller
        .map(|caller| caller.account().to_string())
        .unwrap_or_default();
    let text = format!("A fact for account {account}: honey does not spoil.\n");
    Ok(Response::new(Full::from(text)))
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
