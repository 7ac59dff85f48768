//! The layer around an HTTP *client*: counts what a service spends at an upstream, and stops before it spends too much.
//!
//! An upstream that sells by the token bills whatever we send. Here every outgoing request passes the layer: it knows our
//! own credential for the upstream, takes from the budget of the month, and refuses locally, without a connection, when it is
//! spent. What the upstream says it took goes into the ledger.
//!
//! `cargo run -p example-client` asks a stand-in for an upstream until the budget is spent.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;
mod upstream;

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hm_metering::error::StoreResult;
use hm_metering::keys::{InvalidKey, Verdict, Verified};
use hm_metering::layer::MeteredBody;
use hm_metering::{
    AccountId, Charge, Clock, KeyVerifier, MemoryStore, Meter, MeterName, Operation, OperationName, PlanId,
    Plans, PresentedKey, Principal, SystemClock, Timestamp, Units,
};
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::TokioExecutor;
use tower::{Layer, Service, ServiceExt, service_fn};
use uuid::Uuid;

const TOKENS: MeterName = MeterName::from_static("tokens");
/// What we may spend. A request reserves 40 tokens, and is charged what the upstream says.
const BUDGET: &str = r#"
    [upstream]
    quotas = [{ meter = "tokens", limit = 100, period = "anchored_month" }]
"#;
const RESERVED: Units = Units::new(40);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the statuses are what the example shows")]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::new();
    let account = AccountId::from_uuid(Uuid::now_v7());
    let meter = metering(store, account, "our secret at the upstream").await?;
    let address = upstream::start().await?;
    let mut client = client(&meter);
    for _ in 0..5 {
        let request = Request::get(format!("http://{address}/"))
            .header("authorization", "Bearer our secret at the upstream")
            .body(Empty::new())?;
        println!("{}", client.ready().await?.call(request).await?.status());
    }
    meter.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// An HTTP client behind the layer.
fn client(
    meter: &Meter,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<MeteredBody<Incoming>>, Error = legacy::Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let counting = service_fn(move |request: Request<Empty<Bytes>>| {
        let client = client.clone();
        async move {
            let charge = request.extensions().get::<Charge>().cloned();
            let response = client.request(request).await?;
            if let (Some(charge), Some(tokens)) = (charge, tokens_taken(response.headers())) {
                charge.set(&TOKENS, tokens);
            }
            Ok(response)
        }
    });
    let chat = Operation::new(OperationName::from_static("upstream.chat")).cost(TOKENS, RESERVED);
    meter.layer_for(chat).layer(counting)
}

/// What the upstream says of the price. Where it says nothing, the reservation is charged.
fn tokens_taken(headers: &HeaderMap) -> Option<Units> {
    let text = headers.get("x-tokens-taken")?.to_str().ok()?;
    text.parse().ok().map(Units::new)
}

async fn metering(store: MemoryStore, account: AccountId, secret: &str) -> Result<Meter, Box<dyn Error>> {
    let budget = OurCredential {
        secret: PresentedKey::new(secret),
        account,
        since: SystemClock::new().now(),
    };
    let meter = Meter::builder(budget)
        .plans(Plans::from_toml(BUDGET)?)
        .quota(store.clone())
        .usage(store)
        .start()
        .await?;
    Ok(meter)
}

/// Accepts requests that carry our credential for the upstream. With several credentials, such as one for each team, it
/// would say whose budget a request is on.
struct OurCredential {
    secret: PresentedKey,
    account: AccountId,
    since: Timestamp,
}

#[async_trait]
impl KeyVerifier for OurCredential {
    fn is_well_formed(&self, presented: &str) -> bool {
        presented == self.secret.expose()
    }

    fn claims(&self, bearer: &str) -> bool {
        self.is_well_formed(bearer)
    }

    async fn verify(&self, presented: &PresentedKey, _now: Timestamp) -> StoreResult<Verdict> {
        if !self.is_well_formed(presented.expose()) {
            return Ok(Verdict::Invalid {
                reason: InvalidKey::Unknown,
                key: None,
            });
        }
        Ok(Verdict::Valid(Verified::new(Principal::new(
            self.account,
            PlanId::from_static("upstream"),
            self.since,
        ))))
    }
}
