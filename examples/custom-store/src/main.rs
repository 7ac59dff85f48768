//! A meter over the store: six requests each time it is run, twenty in all.
//!
//! `cargo run -p example-custom-store` sends the requests straight to the service and prints how they ended. The count is
//! in `example-custom-store.redb` and goes on with the next run; the fourth run is refused after two requests.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use example_custom_store::FileStore;
use hm_metering::keys::KeyIssuer;
use hm_metering::{
    AccountId, KeyEnv, KeyStore, MemoryStore, Meter, Pepper, Peppers, PlanId, Plans, StoredKeyVerifier,
    Timestamp, UserId,
};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use uuid::Uuid;

const PLANS: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 20, period = "anchored_month" }]
"#;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the statuses are what the example shows")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = FileStore::open("example-custom-store.redb")?;
    // Keys are kept elsewhere: the traits need not be one type. The account is the same in each run.
    let keys = MemoryStore::new();
    let peppers = Peppers::new(Pepper::new(1, b"a pepper of 32 bytes, or longer.")?);
    let (account, user) = (
        AccountId::from_uuid(Uuid::from_u128(1)),
        UserId::from_uuid(Uuid::from_u128(2)),
    );
    let began = Timestamp::from_micros(1_795_600_000_000_000);
    keys.add_account(account, PlanId::from_static("free"), began);
    let (key, record) =
        KeyIssuer::new(peppers.clone())?.issue(account, user, "first", KeyEnv::Live, began)?;
    keys.insert(&record).await?;

    let meter = Meter::builder(StoredKeyVerifier::new(keys, peppers))
        .plans(Plans::from_toml(PLANS)?)
        .quota(store.clone())
        .usage(store)
        .start()
        .await?;
    let facts = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = meter.layer("facts").layer(facts);
    for _ in 0..6 {
        let request = Request::get("/fact").header("x-api-key", key.expose()).body(())?;
        println!("{}", service.clone().oneshot(request).await?.status());
    }
    let report = meter.shutdown(Duration::from_secs(10)).await;
    assert!(
        report.recorded && report.released,
        "the ledger could not be completed"
    );
    Ok(())
}
