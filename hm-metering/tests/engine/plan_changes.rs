//! Moves to another plan in mid-period.

use std::time::Duration;

use hm_metering::plan_change::{PlanChange, When};
use hm_metering::{Clock, PlanId, Plans, Timestamp};
use http::Response;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::stage::{Stage, facts, handler};

const PLANS: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 5, period = "hour" }]
    [pro]
    quotas = [{ meter = "requests", limit = 10, period = "hour" }]
"#;
const FREE: PlanId = PlanId::from_static("free");
const PRO: PlanId = PlanId::from_static("pro");
const SECOND: Duration = Duration::from_secs(1);

/// Both periods begin with the day on which the account did.
const DAILY: &str = r#"
    [free]
    quotas = [{ meter = "requests", limit = 100, period = "day" }]
    [pro]
    quotas = [{ meter = "requests", limit = 10000, period = "anchored_month" }]
"#;

/// A request's status, and the limit, used and remaining units of its headers.
async fn ask(stage: &Stage) -> (u16, String, String, String) {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    let header = |name: &str, response: &Response<_>| response.headers()[name].to_str().unwrap().to_owned();
    let limit = header("x-ratelimit-limit", &response);
    let used = header("x-ratelimit-used", &response);
    let remaining = header("x-ratelimit-remaining", &response);
    response.into_body().collect().await.unwrap();
    (status, limit, used, remaining)
}

fn answer(status: u16, [limit, used, remaining]: [u32; 3]) -> (u16, String, String, String) {
    (status, limit.to_string(), used.to_string(), remaining.to_string())
}

fn change(from: &PlanId, to: &PlanId, when: When, now: Timestamp) -> PlanChange {
    let plans = Plans::from_toml(PLANS).unwrap();
    PlanChange::decide(plans.get(from).unwrap(), plans.get(to).unwrap(), when, now, now)
}

/// Makes the move known, as a server does that made it.
fn make(stage: &Stage, change: &PlanChange) {
    let made = stage
        .store
        .schedule_plan(stage.account, change.plan.clone(), change.at, stage.now());
    assert!(made);
    stage.meter.forget_account(stage.account);
}

async fn use_up(stage: &Stage, requests: u32) {
    for _ in 0..requests {
        assert_eq!(ask(stage).await.0, 200);
    }
}

#[tokio::test]
async fn an_upgrade_holds_at_once_and_carries_what_was_used() {
    let stage = Stage::new(PLANS).await;
    use_up(&stage, 5).await;
    assert_eq!(ask(&stage).await, answer(429, [5, 5, 0]));
    make(&stage, &change(&FREE, &PRO, When::ByRule, stage.now()));
    assert_eq!(ask(&stage).await, answer(200, [10, 6, 4]));
    use_up(&stage, 4).await;
    assert_eq!(ask(&stage).await, answer(429, [10, 10, 0]));
}

#[tokio::test]
async fn a_downgrade_waits_for_the_periods_end_and_then_holds() {
    let stage = Stage::new(PLANS).await;
    assert!(stage.store.set_plan(stage.account, PRO));
    let down = change(&PRO, &FREE, When::ByRule, stage.now());
    assert_eq!(down.at.to_string(), "2026-11-25T14:00:00Z");
    // So shortly before, that what is in memory would be believed beyond the move.
    stage.clock.set(down.at.minus(SECOND));
    use_up(&stage, 7).await;
    make(&stage, &down);
    assert_eq!(ask(&stage).await, answer(200, [10, 8, 2]));
    stage.clock.advance(SECOND);
    assert_eq!(ask(&stage).await, answer(200, [5, 1, 4]));
    use_up(&stage, 4).await;
    assert_eq!(ask(&stage).await, answer(429, [5, 5, 0]));
}

#[tokio::test]
async fn a_move_within_a_period_holds_from_its_moment_on() {
    let stage = Stage::new(PLANS).await;
    use_up(&stage, 5).await;
    let mut up = change(&FREE, &PRO, When::ByRule, stage.now());
    up.at = stage.clock.now().plus(SECOND);
    make(&stage, &up);
    assert_eq!(ask(&stage).await, answer(429, [5, 5, 0]));
    stage.clock.advance(SECOND);
    assert_eq!(ask(&stage).await, answer(200, [10, 6, 4]));
}

#[tokio::test]
async fn a_downgrade_at_once_leaves_nothing_and_takes_nothing_back() {
    let stage = Stage::new(PLANS).await;
    assert!(stage.store.set_plan(stage.account, PRO));
    use_up(&stage, 7).await;
    make(&stage, &change(&PRO, &FREE, When::AtOnce, stage.now()));
    for _ in 0..3 {
        assert_eq!(ask(&stage).await, answer(429, [5, 7, 0]));
    }
    // What was used is neither lost nor forgiven: in the next plan it counts again.
    make(&stage, &change(&FREE, &PRO, When::ByRule, stage.now()));
    assert_eq!(ask(&stage).await, answer(200, [10, 8, 2]));
}

/// What a request's answer says of its period: its end, its length in the policy, and what was used in it.
async fn period(stage: &Stage) -> (String, String, u32) {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    let (_, length) = header("ratelimit-policy").rsplit_once("w=").unwrap();
    let told = (
        header("x-ratelimit-reset").to_owned(),
        length.to_owned(),
        header("x-ratelimit-used").parse().unwrap(),
    );
    response.into_body().collect().await.unwrap();
    told
}

fn told(reset: &str, length: &str, used: u32) -> (String, String, u32) {
    (reset.to_owned(), length.to_owned(), used)
}

async fn move_to(stage: &Stage, plan: PlanId) {
    assert!(stage.store.set_plan(stage.account, plan));
    stage.meter.forget_account(stage.account);
}

#[tokio::test]
async fn a_period_that_gets_longer_goes_on_to_its_new_end() {
    let stage = Stage::with(DAILY, Vec::new(), |builder| {
        let never = Duration::from_secs(1_000_000);
        builder
            .flush_interval(never)
            .feed_interval(never)
            .staleness(never)
    })
    .await;
    assert_eq!(period(&stage).await, told("2026-11-26", "86400", 1));
    move_to(&stage, PRO).await;
    assert_eq!(period(&stage).await, told("2026-12-25", "2592000", 2));
    // The day is over, and the month is not.
    stage.clock.advance(Duration::from_secs(86_400));
    for used in 3..100 {
        assert_eq!(period(&stage).await, told("2026-12-25", "2592000", used));
        tokio::task::yield_now().await;
    }
    let before = stage.flaky.calls();
    for used in 100..110 {
        assert_eq!(period(&stage).await, told("2026-12-25", "2592000", used));
    }
    let since = stage.flaky.calls().since(&before);
    assert_eq!(since.total(), 0, "{since:?}");
    assert!(stage.meter.shutdown(Duration::from_secs(5)).await.released);
    let balance = stage.balance().await;
    assert_eq!((balance.used.get(), balance.leased.get()), (109, 0));
}

#[tokio::test]
async fn a_period_that_gets_shorter_ends_where_it_now_does() {
    let stage = Stage::new(DAILY).await;
    move_to(&stage, PRO).await;
    assert_eq!(period(&stage).await, told("2026-12-25", "2592000", 1));
    move_to(&stage, FREE).await;
    assert_eq!(period(&stage).await, told("2026-11-26", "86400", 2));
    stage.clock.advance(Duration::from_secs(86_400));
    assert_eq!(period(&stage).await, told("2026-11-27", "86400", 1));
}
