//! A meter in memory with one account and one key, and services to put it around.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hm_metering::keys::KeyIssuer;
use hm_metering::page::PageRequest;
use hm_metering::quota::{Balance, QuotaKey};
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{
    AccountId, Clock, IssuedKey, KeyEnv, KeyId, KeyStore, MemoryStore, Meter, MeterBuilder, MeterName,
    Pepper, Peppers, PlanId, Plans, QuotaStore, StoredKeyVerifier, SystemClock, Timestamp, UsageStore,
    UserId,
};
use http::{Request, Response};
use http_body_util::Full;
use tower::Service;
use uuid::Uuid;

pub const FIVE: &str = r#"
    [free]
    rates = [{ name = "second", limit = 1000, per_seconds = 1 }]
    quotas = [{ meter = "requests", limit = 5, period = "anchored_month" }]
"#;

pub struct Stage {
    pub store: MemoryStore,
    pub meter: Meter,
    pub key: IssuedKey,
    pub key_id: KeyId,
    pub account: AccountId,
}

impl Stage {
    /// A meter with these plans, and a key on the plan `free`.
    pub async fn new(plans: &str) -> Self {
        Self::with(plans, Vec::new(), |builder| builder).await
    }

    pub async fn with(
        plans: &str,
        scopes: Vec<String>,
        change: impl FnOnce(MeterBuilder) -> MeterBuilder,
    ) -> Self {
        let store = MemoryStore::new();
        let account = AccountId::from_uuid(Uuid::now_v7());
        store.add_account(account, PlanId::from_static("free"), SystemClock::new().now());
        let (key, key_id) = add_key(&store, account, scopes).await;
        let builder = Meter::builder(StoredKeyVerifier::new(store.clone(), peppers()))
            .plans(Plans::from_toml(plans).unwrap())
            .quota(store.clone())
            .usage(store.clone());
        let meter = change(builder).start().await.unwrap();
        Self {
            store,
            meter,
            key,
            key_id,
            account,
        }
    }

    pub fn request(&self) -> Request<Full<Bytes>> {
        with_key(self.key.expose())
    }

    /// Everything in the ledger, oldest first, after what was finished has been recorded.
    pub async fn events(&self) -> Vec<Event> {
        assert!(self.meter.flush(Duration::from_secs(5)).await);
        let query = UsageQuery::new(self.account, Timestamp::MIN, Timestamp::MAX);
        let mut events = self
            .store
            .recent(&query, &PageRequest::first(1_000))
            .await
            .unwrap()
            .items;
        events.reverse();
        events
    }

    /// The one event that there is.
    pub async fn event(&self) -> Event {
        let events = self.events().await;
        assert_eq!(events.len(), 1, "{events:?}");
        events.into_iter().next().unwrap()
    }

    /// What the store says of the quota of `requests` in this account's month.
    pub async fn balance(&self) -> Balance {
        let now = SystemClock::new().now();
        let period = hm_metering::period::PeriodRule::AnchoredMonth.period_at(now, now);
        let key = QuotaKey {
            account: self.account,
            meter: MeterName::REQUESTS,
            period,
        };
        self.store.balances(&[key]).await.unwrap()[0]
    }
}

pub fn peppers() -> Peppers {
    Peppers::new(Pepper::new(1, &[7; 32]).unwrap())
}

pub async fn add_key(store: &MemoryStore, account: AccountId, scopes: Vec<String>) -> (IssuedKey, KeyId) {
    let user = UserId::from_uuid(Uuid::now_v7());
    let issuer = KeyIssuer::new(peppers()).unwrap();
    let (key, mut record) = issuer
        .issue(account, user, "test", KeyEnv::Live, SystemClock::new().now())
        .unwrap();
    record.scopes = scopes;
    store.insert(&record).await.unwrap();
    (key, record.id)
}

pub fn with_key(key: &str) -> Request<Full<Bytes>> {
    Request::post("/facts")
        .header("x-api-key", key)
        .body(Full::default())
        .unwrap()
}

type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<B>, std::io::Error>> + Send>>;

/// A service made of a function, which counts how often it is called.
pub struct Handler<F> {
    answer: F,
    pub calls: Arc<AtomicUsize>,
}

impl<F: Clone> Clone for Handler<F> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            calls: Arc::clone(&self.calls),
        }
    }
}

pub fn handler<F, Fut, B>(answer: F) -> Handler<F>
where
    F: Fn(Request<Full<Bytes>>) -> Fut,
    Fut: Future<Output = Result<Response<B>, std::io::Error>> + Send + 'static,
{
    Handler {
        answer,
        calls: Arc::default(),
    }
}

impl<F, Fut, B> Service<Request<Full<Bytes>>> for Handler<F>
where
    F: Fn(Request<Full<Bytes>>) -> Fut,
    Fut: Future<Output = Result<Response<B>, std::io::Error>> + Send + 'static,
{
    type Response = Response<B>;
    type Error = std::io::Error;
    type Future = Answer<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin((self.answer)(request))
    }
}

/// Answers 200 with a few bytes.
pub async fn facts(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    Ok(Response::new(Full::from("facts")))
}
