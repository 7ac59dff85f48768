//! What each operation does while a store can't answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::testing::StoreCall;
use hm_metering::usage::Event;
use hm_metering::{
    KeyStore, MeteringLayer, OnUnavailable, Plan, PlanSource, Plans, Principal, StoreError, StoreErrorKind,
    StoreResult, Units,
};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

const TEN_MINUTES: OnUnavailable = OnUnavailable::Open {
    at_most: Duration::from_secs(600),
};
const THREE: OnUnavailable = OnUnavailable::Safe { units: 3 };

/// Plans that can't be told when they are away.
struct FlakyPlans {
    plans: Plans,
    is_away: Arc<AtomicBool>,
}

#[async_trait]
impl PlanSource for FlakyPlans {
    async fn plan_for(&self, principal: &Principal) -> StoreResult<Arc<Plan>> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "find a plan"));
        }
        self.plans.plan_for(principal).await
    }
}

fn plans(limit: u32) -> String {
    FIVE.replace("limit = 5,", &format!("limit = {limit},"))
}

/// A stage with these units a month, and the switch that takes its plans away.
async fn stage(limit: u32) -> (Stage, Arc<AtomicBool>) {
    let away = Arc::new(AtomicBool::new(false));
    let flaky = FlakyPlans {
        plans: Plans::from_toml(&plans(limit)).unwrap(),
        is_away: Arc::clone(&away),
    };
    let stage = Stage::with(&plans(limit), Vec::new(), |builder| builder.plans(flaky)).await;
    (stage, away)
}

fn layer(stage: &Stage, policy: OnUnavailable) -> MeteringLayer {
    stage.meter.layer("facts").on_unavailable(policy)
}

async fn send(layer: &MeteringLayer, stage: &Stage) -> u16 {
    let service = layer.layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

/// Lets time pass on the meter's clock and for its tasks.
async fn pass(stage: &Stage, seconds: u64) {
    stage.clock.advance(Duration::from_secs(seconds));
    tokio::time::sleep(Duration::from_secs(seconds.min(3))).await;
}

fn fail(stage: &Stage, calls: &[StoreCall]) {
    for call in calls {
        stage.flaky.fail_every(*call, StoreErrorKind::Unavailable);
    }
}

const KEYS: [StoreCall; 2] = [StoreCall::FindByDigest, StoreCall::ChangesSince];
const QUOTA: [StoreCall; 2] = [StoreCall::Lease, StoreCall::Balances];

fn fallback(event: &Event) -> Option<&str> {
    let tag = event.tags.iter().find(|(name, _)| name == "fallback");
    tag.map(|(_, value)| value.as_str())
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    Verifier,
    Plans,
    Quota,
    AllHang,
}

#[tokio::test(start_paused = true)]
async fn each_policy_answers_each_failure_in_time_and_goes_on_by_itself() {
    for (policy, failure, answers, word) in [
        (OnUnavailable::Closed, Failure::Verifier, [503; 4], None),
        (OnUnavailable::Closed, Failure::Plans, [503; 4], None),
        (OnUnavailable::Closed, Failure::Quota, [503; 4], None),
        (OnUnavailable::Closed, Failure::AllHang, [503; 4], None),
        (TEN_MINUTES, Failure::Verifier, [200; 4], Some("open")),
        (TEN_MINUTES, Failure::Plans, [200; 4], Some("open")),
        (TEN_MINUTES, Failure::Quota, [200; 4], Some("open")),
        (TEN_MINUTES, Failure::AllHang, [200; 4], Some("open")),
        (THREE, Failure::Verifier, [503; 4], None),
        (THREE, Failure::Plans, [503; 4], None),
        (THREE, Failure::Quota, [200, 200, 200, 503], Some("safe")),
        (THREE, Failure::AllHang, [503; 4], None),
    ] {
        let case = format!("{policy:?} {failure:?}");
        let (stage, away) = stage(100_000).await;
        let layer = layer(&stage, policy);
        let mut served = 0;
        if failure != Failure::Quota {
            assert_eq!(send(&layer, &stage).await, 200, "{case}");
            served += 1;
            pass(&stage, 1).await;
        }
        match failure {
            Failure::Verifier => fail(&stage, &KEYS),
            Failure::Plans => {
                fail(&stage, &[StoreCall::ChangesSince]);
                away.store(true, Ordering::Relaxed);
            }
            Failure::Quota => fail(&stage, &QUOTA),
            Failure::AllHang => stage.flaky.hang(),
        }
        // Beyond the staleness bound, and beyond what was leased.
        stage
            .clock
            .advance(Duration::from_secs(if failure == Failure::Quota {
                0
            } else {
                70
            }));
        for (number, expected) in answers.into_iter().enumerate() {
            let began = Instant::now();
            assert_eq!(send(&layer, &stage).await, expected, "{case} {number}");
            let at_most = if number > 0 && word.is_some() { 0 } else { 4 };
            let took = began.elapsed();
            assert!(took <= Duration::from_secs(at_most), "{case} {number}: {took:?}");
            served += usize::from(expected == 200);
        }
        stage.flaky.recover();
        away.store(false, Ordering::Relaxed);
        pass(&stage, 2).await;
        // Whoever comes first has it asked again, and does not wait for the answer.
        served += usize::from(send(&layer, &stage).await == 200);
        pass(&stage, 1).await;
        assert_eq!(send(&layer, &stage).await, 200, "{case}");
        served += 1;
        let events: Vec<_> = stage
            .events()
            .await
            .into_iter()
            .filter(|event| event.status == 200)
            .collect();
        assert_eq!(events.len(), served, "{case}");
        assert_eq!(fallback(events.last().unwrap()), None, "{case}: it is over");
        let marked = events.iter().filter(|event| fallback(event).is_some());
        let expected = answers.iter().filter(|status| **status == 200).count();
        assert!(marked.clone().count() >= expected, "{case}");
        assert!(marked.clone().all(|event| fallback(event) == word), "{case}");
        let is_over = policy == TEN_MINUTES && matches!(failure, Failure::Quota | Failure::AllHang);
        assert_eq!(
            marked.filter(|event| event.over).count() >= expected && expected > 0,
            is_over,
            "{case}"
        );
        assert_eq!(
            stage.balance().await.used,
            Units::new(served as u64),
            "{case}: all are charged"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_verdict_is_believed_for_so_long_and_not_longer() {
    let (stage, _) = stage(100_000).await;
    let layer = layer(&stage, TEN_MINUTES);
    pass(&stage, 1).await;
    assert_eq!(send(&layer, &stage).await, 200);
    fail(&stage, &KEYS);
    // Another replica revokes the key, and nobody can tell.
    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    for (seconds, expected) in [(590, 200), (14, 200), (1, 503), (1, 503)] {
        stage.clock.advance(Duration::from_secs(seconds));
        assert_eq!(send(&layer, &stage).await, expected, "{seconds}");
    }
    stage.flaky.recover();
    assert_eq!(send(&layer, &stage).await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_known_to_have_changed_or_was_never_seen_is_not_believed() {
    let (stage, _) = stage(100_000).await;
    let layer = layer(&stage, TEN_MINUTES);
    pass(&stage, 1).await;
    assert_eq!(send(&layer, &stage).await, 200);
    let other = stage.another_key().await;
    fail(&stage, &KEYS);
    stage.clock.advance(Duration::from_secs(10));
    assert_eq!(send(&layer, &stage).await, 200);
    let service = layer.layer(handler(facts));
    let unseen = service
        .oneshot(crate::stage::with_key(other.text()))
        .await
        .unwrap();
    assert_eq!(unseen.status(), 503, "it was never seen");
    // This replica revokes it.
    stage.meter.forget_key(stage.key_id);
    assert_eq!(send(&layer, &stage).await, 503);
}

#[tokio::test(start_paused = true)]
async fn a_no_of_the_verifier_outlasts_its_next_failure() {
    let (stage, _) = stage(100_000).await;
    let layer = layer(&stage, TEN_MINUTES);
    pass(&stage, 1).await;
    assert_eq!(send(&layer, &stage).await, 200);
    fail(&stage, &[StoreCall::ChangesSince]);
    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    stage.clock.advance(Duration::from_secs(6));
    assert_eq!(send(&layer, &stage).await, 401, "the verifier says so");
    fail(&stage, &KEYS);
    stage.clock.advance(Duration::from_secs(6));
    assert_eq!(
        send(&layer, &stage).await,
        503,
        "the older yes is not believed any more"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_quota_holds_while_its_store_is_away() {
    let (stage, _) = stage(5).await;
    let layer = layer(&stage, TEN_MINUTES);
    fail(&stage, &QUOTA);
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(send(&layer, &stage).await, expected);
    }
    stage.flaky.recover();
    pass(&stage, 2).await;
    assert_eq!(send(&layer, &stage).await, 429);
    stage.events().await;
    assert_eq!(stage.balance().await.used, Units::new(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_allowance_is_exact_when_many_want_it() {
    let (stage, _) = stage(100_000).await;
    let stage = Arc::new(stage);
    fail(&stage, &QUOTA);
    let layer = layer(&stage, OnUnavailable::Safe { units: 100 });
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (layer, stage) = (layer.clone(), Arc::clone(&stage));
            tokio::spawn(async move {
                let mut served = 0;
                for _ in 0..10 {
                    match send(&layer, &stage).await {
                        200 => served += 1,
                        status => assert_eq!(status, 503),
                    }
                }
                served
            })
        })
        .collect();
    let mut served = 0;
    for task in tasks {
        served += task.await.unwrap();
    }
    assert_eq!(served, 100);
}

#[tokio::test(start_paused = true)]
async fn the_allowance_comes_back_with_the_next_period_only_and_what_is_not_charged_goes_back() {
    let (stage, _) = stage(100_000).await;
    fail(&stage, &QUOTA);
    let layer = layer(&stage, THREE);
    for _ in 0..5 {
        // The handler fails, so nothing is charged.
        let failing = layer.layer(handler(|_| async {
            Err::<http::Response<http_body_util::Full<bytes::Bytes>>, _>(std::io::Error::other("no facts"))
        }));
        failing.oneshot(stage.request()).await.unwrap_err();
    }
    for expected in [200, 200, 200, 503] {
        assert_eq!(send(&layer, &stage).await, expected);
    }
    assert!(stage.meter.flush(Duration::from_secs(5)).await);
    // Long enough for counters that nobody uses to be forgotten.
    for _ in 0..40 {
        pass(&stage, 3).await;
    }
    assert_eq!(send(&layer, &stage).await, 503);
    stage.clock.advance(Duration::from_secs(32 * 86_400));
    assert_eq!(send(&layer, &stage).await, 200);
}
