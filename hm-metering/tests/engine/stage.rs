//! A meter in memory with one account and one key, and services to put it around.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hm_metering::keys::NewKey;
use hm_metering::page::PageRequest;
use hm_metering::period::PeriodRule;
use hm_metering::quota::{Balance, QuotaKey};
use hm_metering::testing::{FlakyStore, TestClock, TestKey, TestKeys, TestMeter};
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{
    AccountId, Clock, KeyId, MemoryStore, Meter, MeterBuilder, MeterName, Plans, PresentedKey, QuotaStore,
    Timestamp, Units, UsageStore, UserId,
};
use http::{Request, Response};
use http_body_util::Full;
use tower::Service;

pub const FIVE: &str = r#"
    [free]
    rates = [{ name = "second", limit = 1000, per_seconds = 1 }]
    quotas = [{ meter = "requests", limit = 5, period = "anchored_month" }]
"#;

/// What streams take, in tests of what handlers say.
pub const TOKENS: MeterName = MeterName::from_static("tokens");

/// Plans with so many tokens a day, and more requests than any test sends.
pub fn tokens(limit: u64) -> String {
    FIVE.replace("limit = 5,", "limit = 1000000,")
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds")
        .replace(
            "quotas = [",
            &format!("quotas = [{{ meter = \"tokens\", limit = {limit}, period = \"day\" }}, "),
        )
}

/// How many tokens these events were charged.
pub fn charged(events: &[Event]) -> u64 {
    events.iter().map(|event| event.units_of(&TOKENS).get()).sum()
}

/// What the ledger has when everything is over on all meters: as much as the counter of tokens, with nothing leased.
pub async fn over(stage: &Stage, other: Option<&Meter>) -> Vec<Event> {
    for meter in [Some(&stage.meter), other].into_iter().flatten() {
        let report = meter.shutdown(Duration::from_secs(5)).await;
        assert!(report.recorded && report.released, "{report:?}");
    }
    let events = stage.events_in_store().await;
    let balance = stage.day_of(&TOKENS).await;
    assert_eq!(
        (balance.used.get(), balance.leased),
        (charged(&events), Units::ZERO)
    );
    events
}

/// A [`TestMeter`] with one key on the plan `free`, and what is asked of it most often at hand.
pub struct Stage {
    kit: TestMeter,
    /// The store itself, which always works.
    pub store: MemoryStore,
    /// The same store as the meter sees it.
    pub flaky: FlakyStore<MemoryStore>,
    pub clock: TestClock,
    pub keys: TestKeys,
    pub meter: Meter,
    pub key: PresentedKey,
    pub key_id: KeyId,
    pub account: AccountId,
    pub user: UserId,
}

impl Stage {
    /// A meter with these plans, and a key on the plan `free`.
    pub async fn new(plans: &str) -> Self {
        Self::build(plans, |_, _| (), |builder| builder).await
    }

    /// The same with another key.
    pub async fn with_key(plans: &str, key: impl FnOnce(&mut NewKey, Timestamp) + Send) -> Self {
        Self::build(plans, key, |builder| builder).await
    }

    /// The same with scopes and another meter.
    pub async fn with(
        plans: &str,
        scopes: Vec<String>,
        change: impl FnOnce(MeterBuilder) -> MeterBuilder + Send,
    ) -> Self {
        Self::build(plans, |key, _| key.scopes = scopes, change).await
    }

    /// Another key and another meter.
    pub async fn build(
        plans: &str,
        key: impl FnOnce(&mut NewKey, Timestamp) + Send,
        change: impl FnOnce(MeterBuilder) -> MeterBuilder + Send,
    ) -> Self {
        let mut key = Some(key);
        let kit = Meter::test()
            .plans(plans)
            .keys(|plan, new, now| {
                if let Some(key) = key.take_if(|_| plan.as_str() == "free") {
                    key(new, now);
                }
            })
            .with(change)
            .start()
            .await;
        let made = kit.key("free");
        Self {
            store: kit.store().inner().clone(),
            flaky: kit.store().clone(),
            clock: kit.clock().clone(),
            keys: TestKeys::new(kit.store().inner().clone()),
            meter: Meter::clone(&kit),
            key: made.presented(),
            key_id: made.key,
            account: made.account,
            user: made.user,
            kit,
        }
    }

    /// Another meter on the same store, as in another process.
    pub async fn second_meter(&self, plans: &str) -> Meter {
        self.builder(plans).start().await.unwrap()
    }

    /// Another meter on the same store, not started yet.
    pub fn builder(&self, plans: &str) -> MeterBuilder {
        self.kit.another().plans(Plans::from_toml(plans).unwrap())
    }

    /// Another key of the same account.
    pub async fn another_key(&self) -> TestKey {
        self.keys
            .issue_for(self.account, self.user, self.now(), |_| ())
            .await
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn request(&self) -> Request<Full<Bytes>> {
        with_key(self.key.expose())
    }

    /// Everything in the account's ledger, oldest first, after what was finished has been recorded.
    pub async fn events(&self) -> Vec<Event> {
        assert!(self.meter.flush(Duration::from_secs(5)).await);
        self.events_in_store().await
    }

    /// Everything that is in the account's ledger now, oldest first.
    pub async fn events_in_store(&self) -> Vec<Event> {
        events_of(&self.store, self.account).await
    }

    /// The one event that there is.
    pub async fn event(&self) -> Event {
        self.kit.event().await
    }

    /// What the store says of the quota of `requests` in this account's month.
    pub async fn balance(&self) -> Balance {
        let period = PeriodRule::AnchoredMonth.period_at(self.now(), TestMeter::START);
        let key = QuotaKey {
            account: self.account,
            key: None,
            meter: MeterName::REQUESTS,
            period,
        };
        self.store.balances(&[key]).await.unwrap()[0]
    }
}

impl Stage {
    /// What the store says of the quota of `meter` in the present day.
    pub async fn day_of(&self, meter: &MeterName) -> Balance {
        let period = PeriodRule::Day.period_at(self.now(), TestMeter::START);
        let key = QuotaKey {
            account: self.account,
            key: None,
            meter: meter.clone(),
            period,
        };
        self.store.balances(&[key]).await.unwrap()[0]
    }
}

/// Everything that `store` has of an account, oldest first.
pub async fn events_of(store: &MemoryStore, account: AccountId) -> Vec<Event> {
    let query = UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX);
    let (mut events, mut request) = (Vec::new(), PageRequest::first(1_000));
    loop {
        let page = store.recent(&query, &request).await.unwrap();
        events.extend(page.items);
        request.cursor = page.next;
        if request.cursor.is_none() {
            events.reverse();
            return events;
        }
    }
}

/// Gives other tasks their turn until `done`.
pub async fn until(done: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not happen");
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
