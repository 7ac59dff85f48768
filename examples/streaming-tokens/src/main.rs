//! An axum service that streams an answer token by token, and charges for the tokens that it sent.
//!
//! A request takes 100 tokens at the door, so that a quota that is nearly spent refuses it before the work begins. The
//! handler counts as the stream goes, and when it ends, however it ends, the rest goes back to the account.
//!
//! `cargo run -p example-streaming-tokens` prints a key and a command to try it with. Break it off with Ctrl-C in the
//! middle: what was not sent is not charged.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::response::Sse;
use axum::response::sse;
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use hm_metering::keys::KeyIssuer;
use hm_metering::{
    AccountId, Charge, Clock, IssuedKey, KeyEnv, KeyStore, MemoryStore, Meter, MeterName, Pepper, Peppers,
    PlanId, Plans, StoredKeyVerifier, SystemClock, Units, UserId,
};
use tokio::net::TcpListener;
use tokio::time::sleep;
use uuid::Uuid;

const TOKENS: MeterName = MeterName::from_static("tokens");
/// The most that an answer is expected to take.
const RESERVED: Units = Units::new(100);
const PLANS: &str = r#"
    [free]
    quotas = [{ meter = "tokens", limit = 120, period = "anchored_month" }]
"#;
const ANSWER: &str = "Honey does not spoil: it has little water and much acid, and bees add an enzyme to it.";
/// How long the model thinks about a token.
const PACE: Duration = Duration::from_millis(50);

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "the key is what the user of the example came for"
)]
async fn main() -> Result<(), Box<dyn Error>> {
    let (meter, key) = metering(MemoryStore::new()).await?;
    println!(
        "curl -iN http://127.0.0.1:3000/chat -H 'X-API-Key: {}'",
        key.expose()
    );
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    axum::serve(listener, app(&meter, PACE)?)
        .with_graceful_shutdown(async {
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

fn app(meter: &Meter, pace: Duration) -> Result<Router, Box<dyn Error>> {
    Ok(Router::new()
        .route("/chat", get(move |charge| chat(charge, pace)))
        .layer(meter.layer("chat").cost_of("tokens", RESERVED)?))
}

async fn chat(charge: Charge, pace: Duration) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    // From here on the request takes what is said, not what was reserved.
    charge.set(&TOKENS, Units::ZERO);
    charge.tag("model", "honey-1");
    let tokens = model(pace).inspect(move |_| charge.add(&TOKENS, Units::ONE));
    Sse::new(tokens.map(|token| Ok(sse::Event::default().data(token))))
}

/// Stands for a language model.
fn model(pace: Duration) -> impl Stream<Item = &'static str> {
    stream::iter(ANSWER.split(' ')).then(move |token| async move {
        sleep(pace).await;
        token
    })
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
