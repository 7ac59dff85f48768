//! A metered service whose usage goes to two places: the ledger, and a stream on NATS.
//!
//! `nats-server -js` starts a broker. `cargo run -p example-cloudevents-nats` then sends six requests straight to the
//! service and prints how they ended and how many events the stream has. The quota is five, so the last one is refused; it
//! is an event as well. Stop the broker, run it again and start the broker before the next run: the journal has what is
//! missing.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use async_nats::ConnectOptions;
use example_cloudevents_nats::{JetStream, stream_of};
use hm_metering::keys::KeyIssuer;
use hm_metering::usage::CloudEventsSink;
use hm_metering::{
    AccountId, Clock, KeyEnv, KeyStore, MemoryStore, Meter, Pepper, Peppers, PlanId, Plans,
    StoredKeyVerifier, SystemClock, UserId,
};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use uuid::Uuid;

const PLANS: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 5, period = "anchored_month" }]
"#;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the statuses are what the example shows")]
async fn main() -> Result<(), Box<dyn Error>> {
    // A broker that is down must not keep the service from starting.
    let client = ConnectOptions::new()
        .retry_on_initial_connect()
        .connect("nats://127.0.0.1:4222")
        .await?;
    let broker = JetStream::new(client, "usage.events");
    let stream = broker
        .context()
        .get_or_create_stream(stream_of("usage", "usage.events"))
        .await;

    let store = MemoryStore::new();
    // In earnest the pepper is a secret from your configuration. Keys made with it need it for ever.
    let peppers = Peppers::new(Pepper::new(1, b"a pepper of 32 bytes, or longer.")?);
    let now = SystemClock::new().now();
    let (account, user) = (
        AccountId::from_uuid(Uuid::now_v7()),
        UserId::from_uuid(Uuid::now_v7()),
    );
    store.add_account(account, PlanId::from_static("free"), now);
    let (key, record) = KeyIssuer::new(peppers.clone())?.issue(account, user, "first", KeyEnv::Live, now)?;
    store.insert(&record).await?;

    let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), peppers))
        .plans(Plans::from_toml(PLANS)?)
        .quota(store.clone())
        .usage(store)
        .also("nats", CloudEventsSink::new("/facts", broker.clone()))
        .journal("example-cloudevents-nats.journal")
        .start()
        .await?;
    let facts = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = meter.layer("facts").layer(facts);
    for _ in 0..6 {
        let request = Request::get("/fact").header("x-api-key", key.expose()).body(())?;
        println!("{}", service.clone().oneshot(request).await?.status());
    }
    let report = meter.shutdown(Duration::from_secs(10)).await;
    match stream {
        Ok(stream) if report.recorded => {
            println!(
                "the stream has {} events",
                stream.get_info().await?.state.messages
            );
        }
        _ => println!("the broker could not be reached; its events wait in the journal"),
    }
    Ok(())
}
