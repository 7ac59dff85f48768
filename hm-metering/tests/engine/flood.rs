//! Keys that nobody issued, in numbers, and keys that change while they are looked up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::keys::{ChangeCursor, ChangePage, Verdict};
use hm_metering::testing::StoreCall;
use hm_metering::{
    Admit, Call, KeyEnv, KeyFormat, KeyStore, KeyVerifier, Meter, Operation, OperationName, Plans,
    PresentedKey, RefusalKind, StoreResult, StoredKeyVerifier, Timestamp,
};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, until, with_key};

/// A million; half of it where code is not optimised, which is enough to tell.
const MANY: usize = if cfg!(debug_assertions) {
    520_000
} else {
    1_000_000
};

/// What becomes of a request with this key at the door.
async fn refusal(meter: &Meter, operation: &Arc<Operation>, key: &str) -> Option<RefusalKind> {
    let headers = HeaderMap::from_iter([(
        http::header::HeaderName::from_static("x-api-key"),
        HeaderValue::from_str(key).unwrap(),
    )]);
    let decision = match meter.admit(operation, Call::new(&Method::GET, &headers, "/facts")) {
        Admit::Ready(decision) => decision,
        Admit::Pending(decision) => decision.await,
    };
    decision.err().map(|rejection| rejection.refusal().kind())
}

fn operation() -> Arc<Operation> {
    Arc::new(Operation::new(OperationName::from_static("facts")))
}

async fn status(stage: &Stage, key: &str) -> u16 {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(with_key(key)).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

fn look_ups(stage: &Stage) -> u64 {
    stage.flaky.calls().of(StoreCall::FindByDigest)
}

fn well_formed() -> String {
    let key = KeyFormat::default().generate(KeyEnv::Live).unwrap();
    key.expose().to_owned()
}

#[tokio::test]
async fn keys_with_a_wrong_checksum_cost_no_store_call_however_many() {
    let stage = Stage::new(FIVE).await;
    let operation = operation();
    let before = look_ups(&stage);
    for number in 0..MANY {
        let refused = refusal(&stage.meter, &operation, &format!("hm_live_{number:033}000000")).await;
        assert!(matches!(refused, Some(RefusalKind::InvalidKey(_))));
    }
    assert_eq!(look_ups(&stage), before);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_look_ups_for_a_thousandth_at_most() {
    let stage = Stage::new(FIVE).await;
    let operation = operation();
    assert_eq!(status(&stage, stage.key.expose()).await, 200);
    let before = look_ups(&stage);
    let mut refused_unasked = 0;
    for _ in 0..MANY {
        match refusal(&stage.meter, &operation, &well_formed()).await {
            Some(RefusalKind::InvalidKey(_)) => {}
            Some(RefusalKind::Unavailable) => refused_unasked += 1,
            other => panic!("{other:?}"),
        }
    }
    let cost = look_ups(&stage) - before;
    assert!(cost <= MANY as u64 / 1_000, "{cost}");
    assert_eq!(refused_unasked + cost, MANY as u64);

    // Keys in memory notice nothing, also when they have to be asked for again.
    assert_eq!(status(&stage, stage.key.expose()).await, 200);
    stage.meter.forget_key(stage.key_id);
    assert_eq!(status(&stage, stage.key.expose()).await, 200);
    // A key that is new to this process waits for the flood to ebb.
    let other = stage.another_key().await;
    assert_eq!(status(&stage, other.text()).await, 503);
    stage.clock.advance(Duration::from_millis(10));
    assert_eq!(status(&stage, other.text()).await, 200);
}

#[tokio::test]
async fn the_same_unknown_keys_again_and_again_are_looked_up_once_in_a_while() {
    let stage = Stage::new(FIVE).await;
    let operation = operation();
    let keys: Vec<_> = (0..100).map(|_| well_formed()).collect();
    let before = look_ups(&stage);
    for _ in 0..MANY / 10 / keys.len() {
        for key in &keys {
            let refused = refusal(&stage.meter, &operation, key).await;
            assert!(matches!(refused, Some(RefusalKind::InvalidKey(_))));
        }
    }
    assert_eq!(look_ups(&stage) - before, 100);
    stage.clock.advance(Duration::from_secs(1));
    refusal(&stage.meter, &operation, &keys[0]).await;
    assert_eq!(look_ups(&stage) - before, 101);
}

#[tokio::test]
async fn keys_that_exist_use_up_nothing_whatever_becomes_of_them() {
    let stage = Stage::with(
        &FIVE.replace("limit = 5,", "limit = 100000,"),
        Vec::new(),
        |builder| builder.unknown_keys(1),
    )
    .await;
    for number in 0..1_500 {
        let key = stage.another_key().await;
        if number % 3 == 0 {
            stage
                .store
                .revoke(key.account, key.key, stage.now())
                .await
                .unwrap();
            assert_eq!(status(&stage, key.text()).await, 401);
        } else {
            assert_eq!(status(&stage, key.text()).await, 200);
        }
        if number % 4 == 0 {
            stage.clock.advance(Duration::from_millis(1));
        }
    }
}

/// Gives its verdicts when it is let, though they were made before.
struct Late {
    inner: StoredKeyVerifier,
    made: Arc<Semaphore>,
    given: Arc<Semaphore>,
}

#[async_trait]
impl KeyVerifier for Late {
    fn is_well_formed(&self, presented: &str) -> bool {
        self.inner.is_well_formed(presented)
    }

    fn claims(&self, bearer: &str) -> bool {
        self.inner.claims(bearer)
    }

    async fn verify(&self, presented: &PresentedKey, now: Timestamp) -> StoreResult<Verdict> {
        let verdict = self.inner.verify(presented, now).await;
        self.made.add_permits(1);
        self.given.acquire().await.unwrap().forget();
        verdict
    }

    async fn changes_since(
        &self,
        cursor: Option<ChangeCursor>,
        limit: usize,
    ) -> StoreResult<Option<ChangePage>> {
        self.inner.changes_since(cursor, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_raced_a_revocation_loses_to_it() {
    for told_by_the_feed in [false, true] {
        let stage = Stage::new(FIVE).await;
        let (made, given) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let verifier = Late {
            inner: stage.keys.verifier(),
            made: Arc::clone(&made),
            given: Arc::clone(&given),
        };
        let meter = Meter::builder(verifier)
            .plans(Plans::from_toml(FIVE).unwrap())
            .usage(stage.store.clone())
            .clock(stage.clock.clone())
            .start()
            .await
            .unwrap();
        let service = meter.layer("facts").layer(handler(facts));
        let request = tokio::spawn(service.oneshot(stage.request()));
        until(|| made.available_permits() == 1).await;
        stage
            .store
            .revoke(stage.account, stage.key_id, stage.now())
            .await
            .unwrap();
        if told_by_the_feed {
            tokio::time::sleep(Duration::from_millis(600)).await;
        } else {
            meter.forget_key(stage.key_id);
        }
        given.add_permits(2);
        assert_eq!(
            request.await.unwrap().unwrap().status(),
            401,
            "by the feed: {told_by_the_feed}"
        );
        assert_eq!(made.available_permits(), 2, "it was judged anew");
    }
}

#[tokio::test]
async fn a_revocation_on_this_replica_holds_from_the_next_request_on() {
    let stage = Stage::new(FIVE).await;
    assert_eq!(status(&stage, stage.key.expose()).await, 200);
    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    stage.meter.forget_key(stage.key_id);
    assert_eq!(status(&stage, stage.key.expose()).await, 401);
}
