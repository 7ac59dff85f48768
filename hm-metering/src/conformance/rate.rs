//! The cases of [`RateLimiter`].

use std::time::Duration;

use super::Fixture;
use super::fixture::Case;
use super::sample::{TEXTS, at_once, uuid};
use crate::rate::gcra::Rate;
use crate::rate::{RateCheck, RateDecision, RateLimiter};

/// What a case of this suite gets.
pub type RateFixture = Fixture<dyn RateLimiter>;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn RateLimiter>> {
    crate::__rate_limiter_cases!([crate::__conformance_list])
}

const NOW: Duration = Duration::from_secs(1_000);

/// Ten units a second, five at once.
fn bucket() -> RateCheck {
    RateCheck {
        bucket: uuid().to_string(),
        rate: Rate::new(10, Duration::from_secs(1), 5),
        units: 1,
    }
}

fn taking(units: u32, check: &RateCheck) -> RateCheck {
    RateCheck {
        units,
        ..check.clone()
    }
}

const fn denied(limit: usize, millis: u64) -> RateDecision {
    RateDecision::Denied {
        limit,
        retry_after: Some(Duration::from_millis(millis)),
    }
}

async fn decide(fixture: &RateFixture, checks: &[RateCheck], now: Duration) -> RateDecision {
    fixture.store.check(checks, now).await.unwrap()
}

/// A whole burst passes at once, and then as much as flows back.
pub async fn a_burst_passes_and_then_the_rate_holds(fixture: RateFixture) {
    let check = [bucket()];
    for _ in 0..5 {
        assert_eq!(decide(&fixture, &check, NOW).await, RateDecision::Allowed);
    }
    assert_eq!(decide(&fixture, &check, NOW).await, denied(0, 100));
    let later = NOW + Duration::from_millis(100);
    assert_eq!(decide(&fixture, &check, later).await, RateDecision::Allowed);
    assert_eq!(decide(&fixture, &check, later).await, denied(0, 100));
}

/// A bucket that is left alone fills up to its burst and no further.
pub async fn a_bucket_fills_up_to_its_burst(fixture: RateFixture) {
    let check = bucket();
    let all = [taking(5, &check)];
    assert_eq!(decide(&fixture, &all, NOW).await, RateDecision::Allowed);
    let later = NOW + Duration::from_secs(3_600);
    assert_eq!(decide(&fixture, &all, later).await, RateDecision::Allowed);
    assert_eq!(decide(&fixture, &[check], later).await, denied(0, 100));
}

/// The wait that a denial names is right to the moment.
pub async fn the_wait_is_exact(fixture: RateFixture) {
    let check = bucket();
    assert_eq!(
        decide(&fixture, &[taking(4, &check)], NOW).await,
        RateDecision::Allowed
    );
    let three = [taking(3, &check)];
    assert_eq!(decide(&fixture, &three, NOW).await, denied(0, 200));
    let early = NOW + Duration::from_millis(199);
    assert_eq!(decide(&fixture, &three, early).await, denied(0, 1));
    let right = NOW + Duration::from_millis(200);
    assert_eq!(decide(&fixture, &three, right).await, RateDecision::Allowed);
}

/// A denial neither counts nor makes the wait longer.
pub async fn a_denial_changes_nothing(fixture: RateFixture) {
    let check = bucket();
    assert_eq!(
        decide(&fixture, &[taking(5, &check)], NOW).await,
        RateDecision::Allowed
    );
    for _ in 0..20 {
        assert_eq!(decide(&fixture, &[taking(2, &check)], NOW).await, denied(0, 200));
    }
    let later = NOW + Duration::from_millis(200);
    assert_eq!(
        decide(&fixture, &[taking(2, &check)], later).await,
        RateDecision::Allowed
    );
}

/// Several limits are taken from all or from none.
pub async fn several_limits_are_taken_all_or_none(fixture: RateFixture) {
    let (roomy, tight) = (bucket(), bucket());
    assert_eq!(
        decide(&fixture, &[taking(5, &tight)], NOW).await,
        RateDecision::Allowed
    );
    for _ in 0..5 {
        assert_eq!(
            decide(&fixture, &[roomy.clone(), tight.clone()], NOW).await,
            denied(1, 100)
        );
        assert_eq!(
            decide(&fixture, &[tight.clone(), roomy.clone()], NOW).await,
            denied(0, 100)
        );
    }
    assert_eq!(
        decide(&fixture, &[taking(5, &roomy)], NOW).await,
        RateDecision::Allowed
    );
}

/// Allowed, several limits are all taken from.
pub async fn several_limits_are_all_taken_from(fixture: RateFixture) {
    let (first, second) = (bucket(), bucket());
    let both = [taking(5, &first), taking(4, &second)];
    assert_eq!(decide(&fixture, &both, NOW).await, RateDecision::Allowed);
    assert_eq!(decide(&fixture, &[first], NOW).await, denied(0, 100));
    assert_eq!(decide(&fixture, &[taking(2, &second)], NOW).await, denied(0, 100));
}

/// A denial names the limit with the longest wait.
pub async fn the_longest_wait_is_named(fixture: RateFixture) {
    let (short, long) = (bucket(), bucket());
    let fill = [taking(4, &short), taking(5, &long)];
    assert_eq!(decide(&fixture, &fill, NOW).await, RateDecision::Allowed);
    let (short, long) = (taking(2, &short), taking(4, &long));
    let asked = [short.clone(), long.clone(), bucket()];
    assert_eq!(decide(&fixture, &asked, NOW).await, denied(1, 400));
    assert_eq!(decide(&fixture, &[long, short], NOW).await, denied(0, 400));
}

/// More than the burst never fits, and that is the longest wait of all.
pub async fn more_than_the_burst_is_never_allowed(fixture: RateFixture) {
    let (full, fresh) = (bucket(), bucket());
    assert_eq!(
        decide(&fixture, &[taking(5, &full)], NOW).await,
        RateDecision::Allowed
    );
    let asked = [full, taking(6, &fresh)];
    let never = RateDecision::Denied {
        limit: 1,
        retry_after: None,
    };
    assert_eq!(decide(&fixture, &asked, NOW).await, never);
    assert_eq!(
        decide(&fixture, &[taking(5, &fresh)], NOW).await,
        RateDecision::Allowed
    );
}

/// No checks are allowed, and nothing can always be taken.
pub async fn nothing_is_always_allowed(fixture: RateFixture) {
    assert_eq!(decide(&fixture, &[], NOW).await, RateDecision::Allowed);
    let check = bucket();
    let all = [taking(5, &check)];
    assert_eq!(decide(&fixture, &all, NOW).await, RateDecision::Allowed);
    let none = [taking(0, &check)];
    assert_eq!(decide(&fixture, &none, NOW).await, RateDecision::Allowed);
    assert_eq!(decide(&fixture, &[check], NOW).await, denied(0, 100));
}

/// A call with an earlier time is answered as if it came at the same moment.
pub async fn a_clock_that_goes_back_gives_and_takes_nothing(fixture: RateFixture) {
    let check = [bucket()];
    for back in 0..5 {
        let now = NOW - Duration::from_secs(back);
        assert_eq!(decide(&fixture, &check, now).await, RateDecision::Allowed);
    }
    for now in [Duration::ZERO, NOW - Duration::from_millis(1), NOW] {
        assert_eq!(decide(&fixture, &check, now).await, denied(0, 100));
    }
    let later = NOW + Duration::from_millis(100);
    assert_eq!(decide(&fixture, &check, later).await, RateDecision::Allowed);
}

/// A bucket is known by its whole name, whatever that is.
pub async fn buckets_are_told_apart_by_their_names(fixture: RateFixture) {
    let prefix = uuid();
    let long = "x".repeat(160);
    let more = ["case CASE".to_owned(), format!("{long}1"), format!("{long}2")];
    let names = TEXTS.iter().map(|text| (*text).to_owned()).chain(more);
    for name in names {
        let check = RateCheck {
            bucket: format!("{prefix}{name}"),
            ..taking(5, &bucket())
        };
        let check = [check];
        assert_eq!(
            decide(&fixture, &check, NOW).await,
            RateDecision::Allowed,
            "{name:?}"
        );
        assert_eq!(decide(&fixture, &check, NOW).await, denied(0, 500), "{name:?}");
    }
}

/// Whatever runs at the same time, exactly the burst passes.
pub async fn many_at_once_get_exactly_the_burst(fixture: RateFixture) {
    let (shared, wide) = (bucket(), bucket());
    let decisions = at_once((0..64).map(|number| {
        let store = fixture.store.clone();
        let mut checks = vec![
            shared.clone(),
            RateCheck {
                rate: Rate::new(10, Duration::from_secs(1), 1_000),
                ..wide.clone()
            },
        ];
        if number % 2 == 1 {
            checks.reverse();
        }
        async move { store.check(&checks, NOW).await.unwrap() }
    }))
    .await;
    let allowed = decisions
        .iter()
        .filter(|decision| **decision == RateDecision::Allowed)
        .count();
    assert_eq!(allowed, 5);
    let rest = RateCheck {
        rate: Rate::new(10, Duration::from_secs(1), 1_000),
        ..taking(996, &wide)
    };
    assert_eq!(
        decide(&fixture, std::slice::from_ref(&rest), NOW).await,
        denied(0, 100)
    );
    let rest = taking(995, &rest);
    assert_eq!(decide(&fixture, &[rest], NOW).await, RateDecision::Allowed);
}
