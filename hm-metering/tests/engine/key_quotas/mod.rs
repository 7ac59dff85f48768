//! Quotas of single keys beside those of their account.

mod charging;
mod leasing;

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::keys::{InvalidKey, KeyPatch, KeyQuotas, KeyVerifier, Verdict, Verified};
use hm_metering::period::PeriodRule;
use hm_metering::plan::{Quota, QuotaMode};
use hm_metering::quota::{Balance, QuotaKey};
use hm_metering::testing::{StoreCall, TestMeter};
use hm_metering::{
    KeyId, KeyStore, MemoryStore, Meter, MeterName, Plans, PresentedKey, Principal, QuotaStore,
    StoreErrorKind, StoreResult, Timestamp,
};

use crate::stage::{FIVE, Stage, with_key};
use crate::told::send;

const DAY: u64 = 86_400;

/// Plans that allow an account so many requests a month, and far more in a second than are sent.
fn plan(limit: u64) -> String {
    FIVE.replace("limit = 5,", &format!("limit = {limit},"))
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds")
}

fn quotas(quotas: impl IntoIterator<Item = Quota>) -> KeyQuotas {
    KeyQuotas::new(quotas).unwrap()
}

/// A stage whose key has this quota of its own.
async fn stage(plans: &str, quota: Quota) -> Stage {
    Stage::with_key(plans, |key, _| key.quotas = quotas([quota])).await
}

/// What the store says of the counter of one of the account's keys.
async fn of_key(stage: &Stage, key: KeyId, meter: &MeterName, rule: PeriodRule) -> Balance {
    let counter = QuotaKey {
        account: stage.account,
        key: Some(key),
        meter: meter.clone(),
        period: rule.period_at(stage.now(), TestMeter::START),
    };
    stage.store.balances(&[counter]).await.unwrap()[0]
}

fn used(balance: Balance) -> (u64, u64) {
    (balance.used.get(), balance.leased.get())
}

async fn shut_down(meter: &Meter) {
    let report = meter.shutdown(Duration::from_secs(5)).await;
    assert!(report.recorded && report.released, "{report:?}");
}

async fn set_quotas(stage: &Stage, new: KeyQuotas) {
    let patch = KeyPatch {
        quotas: Some(new),
        ..KeyPatch::default()
    };
    let changed = stage
        .store
        .update(stage.account, stage.key_id, &patch, stage.now())
        .await;
    assert!(changed.unwrap().is_some());
}

#[tokio::test]
async fn a_keys_own_quota_holds_beside_the_accounts_and_is_named_when_it_refuses() {
    let stage = stage(&plan(100), Quota::per_day(2)).await;
    let other = stage.another_key().await;
    let layer = || stage.meter.layer("facts");
    for left in [99, 98] {
        let told = send(layer(), stage.request()).await;
        assert_eq!(told.status, 200);
        assert_eq!(told.headers["x-ratelimit-remaining"], left.to_string());
    }
    for _ in 0..3 {
        let told = send(layer(), stage.request()).await;
        assert_eq!((told.status, &told.body["code"]), (429, &"quota_exceeded".into()));
        assert_eq!(told.body["violated-policies"], serde_json::json!(["key-day"]));
        let end = PeriodRule::Day.period_at(stage.now(), TestMeter::START).end;
        assert_eq!(told.body["resetDate"], end.to_string());
        let wait = end.since(stage.now()).as_secs();
        let told_wait: u64 = told.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((wait..=wait + 1).contains(&told_wait), "{told_wait} of {wait}");
        // The headers go on to describe the account's month.
        assert_eq!(told.headers["x-ratelimit-limit"], "100");
        assert_eq!(told.headers["x-ratelimit-used"], "2");
        let trace = told.trace.unwrap();
        let limits: Vec<_> = trace
            .limits()
            .iter()
            .map(|limit| (limit.name.to_owned(), limit.violated))
            .collect();
        assert_eq!(
            limits,
            [("key-day".to_owned(), true), ("month".to_owned(), false)]
        );
    }
    // The refused ones took nothing of the account's, and its other key has no quota of its own.
    for left in [97, 96] {
        let told = send(layer(), with_key(other.text())).await;
        assert_eq!(told.headers["x-ratelimit-remaining"], left.to_string());
    }
    stage.clock.advance(Duration::from_secs(DAY));
    for expected in [200, 200, 429] {
        assert_eq!(send(layer(), stage.request()).await.status, expected);
    }
    shut_down(&stage.meter).await;
    assert_eq!(used(stage.balance().await), (6, 0));
    let day = of_key(&stage, stage.key_id, &MeterName::REQUESTS, PeriodRule::Day).await;
    assert_eq!(used(day), (2, 0));
}

#[tokio::test]
async fn a_request_that_the_keys_quota_refuses_takes_nothing_of_the_accounts_rate() {
    let plans = plan(100).replace(
        "limit = 1000000, per_seconds = 1",
        "limit = 4, per_seconds = 3600",
    );
    let stage = stage(&plans, Quota::per_day(1)).await;
    let other = stage.another_key().await;
    let status = async |request| send(stage.meter.layer("facts"), request).await.status;
    for expected in [200, 429, 429, 429, 429, 429] {
        assert_eq!(status(stage.request()).await, expected);
    }
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(with_key(other.text())).await, expected);
    }
}

#[tokio::test]
async fn a_request_that_the_account_refuses_takes_nothing_of_the_keys_quota() {
    let year = PeriodRule::AnchoredFixed {
        seconds: NonZeroU32::new(366 * 86_400).unwrap(),
    };
    let stage = stage(FIVE, Quota::new(6, year)).await;
    let send = async || send(stage.meter.layer("facts"), stage.request()).await;
    for expected in [200, 200, 200, 200, 200, 429, 429, 429] {
        assert_eq!(send().await.status, expected);
    }
    // In the next month the account's is there again, and of the key's six a year one is left.
    stage.clock.advance(Duration::from_secs(32 * DAY));
    assert_eq!(send().await.status, 200);
    let told = send().await;
    assert_eq!(told.body["violated-policies"], serde_json::json!(["key-window"]));
    shut_down(&stage.meter).await;
    let counter = of_key(&stage, stage.key_id, &MeterName::REQUESTS, year).await;
    assert_eq!(used(counter), (6, 0));
}

#[tokio::test]
async fn keys_of_an_account_have_quotas_of_their_own() {
    let stage = stage(&plan(100), Quota::per_hour(2)).await;
    let give = |key: &mut hm_metering::keys::NewKey| key.quotas = quotas([Quota::per_hour(3)]);
    let other = stage
        .keys
        .issue_for(stage.account, stage.user, stage.now(), give)
        .await;
    let status = async |request| send(stage.meter.layer("facts"), request).await.status;
    for expected in [200, 200, 429] {
        assert_eq!(status(stage.request()).await, expected);
    }
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(with_key(other.text())).await, expected);
    }
    shut_down(&stage.meter).await;
    for (key, expected) in [(stage.key_id, 2), (other.key, 3)] {
        let counter = of_key(&stage, key, &MeterName::REQUESTS, PeriodRule::Hour).await;
        assert_eq!(used(counter), (expected, 0));
    }
    assert_eq!(used(stage.balance().await), (5, 0));
}

#[tokio::test]
async fn a_quota_of_every_period_can_be_a_keys_own() {
    for rule in [
        PeriodRule::CalendarMonth,
        PeriodRule::AnchoredMonth,
        PeriodRule::WEEK,
        PeriodRule::Day,
        PeriodRule::Hour,
        PeriodRule::Fixed {
            seconds: NonZeroU32::new(86_400).unwrap(),
        },
        PeriodRule::Rolling(
            hm_metering::period::Rolling::new(NonZeroU32::new(3_600).unwrap(), NonZeroU32::new(60).unwrap())
                .unwrap(),
        ),
    ] {
        let stage = stage(&plan(100), Quota::new(2, rule)).await;
        let status = async || send(stage.meter.layer("facts"), stage.request()).await.status;
        for expected in [200, 200, 429] {
            assert_eq!(status().await, expected, "{rule:?}");
        }
        // A window that rolls has another sub-period now, and both requests in it still.
        stage.clock.advance(Duration::from_secs(60));
        assert_eq!(status().await, 429, "{rule:?}");
        stage.clock.advance(Duration::from_secs(62 * DAY));
        assert_eq!(status().await, 200, "{rule:?}");
    }
}

#[tokio::test]
async fn more_than_the_whole_quota_of_a_key_is_never_possible() {
    let stage = stage(&plan(100), Quota::per_day(4)).await;
    let told = send(stage.meter.layer("facts").cost(5), stage.request()).await;
    assert_eq!(
        (told.status, &told.body["code"]),
        (429, &"cost_exceeds_limit".into())
    );
    assert_eq!(told.body["violated-policies"], serde_json::json!(["key-day"]));
    assert!(!told.headers.contains_key("retry-after"));
    assert_eq!(
        send(stage.meter.layer("facts").cost(4), stage.request())
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn another_limit_holds_at_once_and_what_was_used_stays() {
    let stage = stage(&plan(100), Quota::per_day(2)).await;
    let status = async || send(stage.meter.layer("facts"), stage.request()).await.status;
    for expected in [200, 200, 429] {
        assert_eq!(status().await, expected);
    }
    for (limit, expected) in [(4, [200, 200, 429]), (1, [429, 429, 429]), (5, [200, 429, 429])] {
        set_quotas(&stage, quotas([Quota::per_day(limit)])).await;
        stage.meter.forget_key(stage.key_id);
        for expected in expected {
            assert_eq!(status().await, expected, "of {limit}");
        }
    }
    // Without one, the account's is left.
    set_quotas(&stage, KeyQuotas::default()).await;
    stage.meter.forget_key(stage.key_id);
    assert_eq!(status().await, 200);
    shut_down(&stage.meter).await;
    let counter = of_key(&stage, stage.key_id, &MeterName::REQUESTS, PeriodRule::Day).await;
    assert_eq!((used(counter), used(stage.balance().await)), ((5, 0), (6, 0)));
}

#[tokio::test(start_paused = true)]
async fn another_limit_is_heard_of_within_the_staleness_bound() {
    let stage = stage(&plan(100), Quota::per_day(2)).await;
    stage
        .flaky
        .fail_every(StoreCall::ChangesSince, StoreErrorKind::Unavailable);
    let status = async || send(stage.meter.layer("facts"), stage.request()).await.status;
    for expected in [200, 200, 429] {
        assert_eq!(status().await, expected);
    }
    set_quotas(&stage, quotas([Quota::per_day(3)])).await;
    stage.clock.advance(Duration::from_secs(6));
    for expected in [200, 429] {
        assert_eq!(status().await, expected);
    }
}

#[tokio::test]
async fn a_keys_soft_and_shadow_quotas_let_through_and_say_so() {
    for (mode, over) in [(QuotaMode::Soft, true), (QuotaMode::Shadow, false)] {
        let stage = stage(&plan(100), Quota::per_day(1).mode(mode)).await;
        for _ in 0..2 {
            assert_eq!(
                send(stage.meter.layer("facts"), stage.request()).await.status,
                200
            );
        }
        let events = stage.events().await;
        assert_eq!((events[0].over, events[1].over), (false, over));
        let code = (!over).then_some("quota_exceeded");
        assert_eq!(events[1].would_refuse.as_deref(), code);
        let counter = of_key(&stage, stage.key_id, &MeterName::REQUESTS, PeriodRule::Day).await;
        assert_eq!(counter.used.get(), 2);
    }
}

/// Answers for every key with a caller that has a quota and no id.
struct Nameless(Principal);

#[async_trait]
impl KeyVerifier for Nameless {
    fn is_well_formed(&self, _: &str) -> bool {
        true
    }

    fn claims(&self, _: &str) -> bool {
        true
    }

    async fn verify(&self, _: &PresentedKey, _: Timestamp) -> StoreResult<Verdict> {
        Ok(Verdict::Valid(Verified::new(self.0.clone())))
    }
}

#[tokio::test]
async fn a_caller_with_quotas_and_no_id_is_not_accepted() {
    let stage = Stage::new(&plan(100)).await;
    let plans = Plans::from_toml(&plan(100)).unwrap();
    let free = hm_metering::PlanId::from_static("free");
    let caller = Principal::new(stage.account, free, stage.now());
    for (quotas, expected) in [(KeyQuotas::default(), 200), (quotas([Quota::per_day(1)]), 401)] {
        let store = MemoryStore::new();
        let meter = Meter::builder(Nameless(caller.clone().with_quotas(quotas)))
            .plans(plans.clone())
            .quota(store.clone())
            .usage(store)
            .start()
            .await
            .unwrap();
        let told = send(meter.layer("facts"), stage.request()).await;
        assert_eq!(told.status, expected);
        if let Some(trace) = told.trace {
            assert_eq!(trace.key_state().as_str(), InvalidKey::QuotasWithoutId.as_str());
        }
        meter.shutdown(Duration::from_secs(5)).await;
    }
}
