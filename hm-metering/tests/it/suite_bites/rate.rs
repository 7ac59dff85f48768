use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::conformance::{Fixture, MadeUpAccounts, rate};
use hm_metering::error::StoreResult;
use hm_metering::rate::{RateCheck, RateDecision};
use hm_metering::{MemoryRateLimiter, RateLimiter};

use super::bites;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    TakesFromSome,
    CountsDenials,
    TakesFromTheFirstOnly,
    NamesTheFirstLimit,
    WaitsForEver,
    NeverIsALongWait,
    ClockGoesBackAndForth,
    IgnoresUnits,
    CutsNames,
    LowersNames,
}

struct Broken {
    limiter: MemoryRateLimiter,
    fault: Option<Fault>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

#[async_trait]
impl RateLimiter for Broken {
    async fn check(&self, checks: &[RateCheck], now: Duration) -> StoreResult<RateDecision> {
        let mut checks = checks.to_vec();
        for check in &mut checks {
            if self.has(Fault::IgnoresUnits) {
                check.units = 1;
            }
            if self.has(Fault::CutsNames) {
                check.bucket = check.bucket.chars().take(100).collect();
            }
            if self.has(Fault::LowersNames) {
                check.bucket = check.bucket.to_lowercase();
            }
            if self.has(Fault::ClockGoesBackAndForth) {
                check.bucket = format!("{} {}", check.bucket, now.as_secs());
            }
        }
        if self.has(Fault::TakesFromTheFirstOnly) {
            checks.truncate(1);
        }
        if self.has(Fault::TakesFromSome) {
            let mut decision = RateDecision::Allowed;
            for (limit, check) in checks.iter().enumerate() {
                let alone = self.limiter.check(std::slice::from_ref(check), now).await?;
                if let RateDecision::Denied { retry_after, .. } = alone {
                    decision = RateDecision::Denied { limit, retry_after };
                }
            }
            return Ok(decision);
        }
        let mut decision = self.limiter.check(&checks, now).await?;
        if let RateDecision::Denied { limit, retry_after } = &mut decision {
            if self.has(Fault::NamesTheFirstLimit) {
                *limit = 0;
            }
            if self.has(Fault::WaitsForEver) {
                *retry_after = None;
            }
            if self.has(Fault::NeverIsALongWait) {
                *retry_after = Some(retry_after.unwrap_or(Duration::from_secs(3_600)));
            }
            if self.has(Fault::CountsDenials) {
                for check in &mut checks {
                    check.rate = hm_metering::rate::gcra::Rate::new(10, Duration::from_secs(1), 1_000);
                }
                self.limiter.check(&checks, now).await?;
            }
        }
        Ok(decision)
    }
}

fn make(fault: Option<Fault>) -> Fixture<dyn RateLimiter> {
    let broken = Broken {
        limiter: MemoryRateLimiter::new(),
        fault,
    };
    Fixture::new(Arc::new(broken), MadeUpAccounts)
}

#[tokio::test]
async fn every_fault_of_a_rate_limiter_is_noticed() {
    let faults = [
        (Fault::TakesFromSome, "several_limits_are_taken_all_or_none"),
        (Fault::CountsDenials, "a_denial_changes_nothing"),
        (Fault::TakesFromTheFirstOnly, "several_limits_are_all_taken_from"),
        (Fault::NamesTheFirstLimit, "the_longest_wait_is_named"),
        (Fault::WaitsForEver, "a_burst_passes_and_then_the_rate_holds"),
        (Fault::NeverIsALongWait, "more_than_the_burst_is_never_allowed"),
        (
            Fault::ClockGoesBackAndForth,
            "a_clock_that_goes_back_gives_and_takes_nothing",
        ),
        (Fault::IgnoresUnits, "the_wait_is_exact"),
        (Fault::CutsNames, "buckets_are_told_apart_by_their_names"),
        (Fault::LowersNames, "buckets_are_told_apart_by_their_names"),
    ];
    bites(rate::cases(), make, &faults).await;
}
