//! How often keys were used, where the ledger knows no keys.

use std::time::Duration;

use hm_metering::testing::{FlakyStore, StoreCall, TestClock, TestKey, TestKeys};
use hm_metering::{
    KeyStore, MemoryStore, Meter, PlanId, Plans, StoreErrorKind, StoredKeyVerifier, Timestamp,
};
use http::Request;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, events_of, facts, handler};

const SECOND: Duration = Duration::from_secs(1);

/// A meter whose keys are in one store, with quotas and the ledger in another one.
struct Apart {
    keys: FlakyStore<MemoryStore>,
    ledger: MemoryStore,
    clock: TestClock,
    made: TestKeys,
    meter: Meter,
}

impl Apart {
    async fn new() -> Self {
        let keys = FlakyStore::new(MemoryStore::new());
        let ledger = MemoryStore::new();
        let clock = TestClock::at(Timestamp::from_micros(1_800_000_000_000_000));
        let made = TestKeys::new(keys.inner().clone());
        let plans = FIVE
            .replace("limit = 5,", "limit = 1000000,")
            .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds");
        let meter = Meter::builder(StoredKeyVerifier::new(keys.clone(), made.peppers()))
            .plans(Plans::from_toml(&plans).unwrap())
            .quota(ledger.clone())
            .usage(ledger.clone())
            .clock(clock.clone())
            .flush_interval(Duration::from_secs(3_600))
            .start();
        Self {
            meter: meter.await.unwrap(),
            keys,
            ledger,
            clock,
            made,
        }
    }

    async fn key(&self) -> TestKey {
        use hm_metering::Clock;
        self.made
            .issue(PlanId::from_static("free"), self.clock.now())
            .await
    }

    async fn serve(&self, key: &TestKey, requests: usize) {
        for _ in 0..requests {
            let mut request = Request::post("/facts").body(Full::default()).unwrap();
            *request.headers_mut() = key.headers();
            let service = self.meter.layer("facts").layer(handler(facts));
            let response = service.oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
        }
    }

    async fn flush(&self) {
        assert!(self.meter.flush(SECOND).await);
    }

    /// How often the key store says that a key was used, and when last.
    async fn used(&self, key: &TestKey) -> (u64, Option<Timestamp>) {
        let record = self
            .keys
            .inner()
            .get(key.account, key.key)
            .await
            .unwrap()
            .unwrap();
        (record.usage_count, record.last_used_at)
    }

    /// Waits until a key is known to have been used so often.
    async fn until_used(&self, key: &TestKey, times: u64) {
        for _ in 0..100_000 {
            if self.used(key).await.0 >= times {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(self.used(key).await.0, times);
    }

    fn told(&self) -> u64 {
        self.keys.calls().of(StoreCall::MarkUsed)
    }
}

#[tokio::test]
async fn a_key_store_of_its_own_hears_of_uses_in_batches() {
    use hm_metering::Clock;
    let apart = Apart::new().await;
    let (ada, bob) = (apart.key().await, apart.key().await);
    apart.serve(&ada, 300).await;
    apart.serve(&bob, 7).await;
    apart.clock.advance(SECOND);
    apart.serve(&ada, 1).await;
    let last = apart.clock.now();
    apart.flush().await;
    apart.until_used(&ada, 301).await;
    apart.until_used(&bob, 7).await;
    assert_eq!(apart.used(&ada).await.1, Some(last));
    // A flush at the start may have had some of them.
    let told = apart.told();
    assert!(told <= 3, "{told} calls for 308 requests");
    apart.flush().await;
    assert_eq!(apart.told(), told, "and none where nothing was used");
}

#[tokio::test]
async fn a_key_store_that_fails_hears_of_the_uses_later() {
    let apart = Apart::new().await;
    let key = apart.key().await;
    apart
        .keys
        .fail_every(StoreCall::MarkUsed, StoreErrorKind::Unavailable);
    for round in 1..=3 {
        apart.serve(&key, 5).await;
        apart.flush().await;
        crate::stage::until(|| apart.told() >= round).await;
    }
    assert_eq!(apart.used(&key).await.0, 0);
    assert_eq!(
        events_of(&apart.ledger, key.account).await.len(),
        15,
        "the ledger is not disturbed"
    );
    apart.keys.recover();
    apart.serve(&key, 1).await;
    // What is under way is not waited for, so it may take another flush.
    for _ in 0..3 {
        apart.flush().await;
    }
    apart.until_used(&key, 16).await;
}

#[tokio::test]
async fn the_end_tells_what_is_left_and_does_not_wait_for_a_store_that_hangs() {
    let apart = Apart::new().await;
    let key = apart.key().await;
    apart.serve(&key, 4).await;
    assert!(apart.meter.shutdown(SECOND).await.recorded);
    assert_eq!(apart.used(&key).await.0, 4);

    let apart = Apart::new().await;
    let key = apart.key().await;
    apart.serve(&key, 4).await;
    apart.keys.hang();
    let report = apart.meter.shutdown(Duration::from_millis(200)).await;
    assert!(report.recorded && report.released, "{report:?}");
    assert_eq!(events_of(&apart.ledger, key.account).await.len(), 4);
}

#[tokio::test]
async fn a_ledger_that_knows_the_keys_counts_their_uses_alone() {
    let stage = Stage::new(FIVE).await;
    for _ in 0..3 {
        let service = stage.meter.layer("facts").layer(handler(facts));
        let response = service.oneshot(stage.request()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    assert!(stage.meter.shutdown(SECOND).await.recorded);
    let record = stage
        .store
        .get(stage.account, stage.key_id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.usage_count, 3);
    assert_eq!(stage.flaky.calls().of(StoreCall::MarkUsed), 0);
}
