//! Response times.

use super::{UsageFixture, record};
use crate::conformance::sample::{all_of, at, event, kind, refused};
use crate::error::StoreErrorKind;
use crate::id::AccountId;
use crate::usage::{Event, Outcome, UsageQuery};

fn taking(account: AccountId, micros: u64) -> Event {
    Event {
        response_time_us: micros,
        ..event(account, at(1))
    }
}

/// Fails unless each answer is the expected time or at most one percent more.
fn assert_near(answer: Option<Vec<u64>>, expected: &[u64]) {
    let answer = answer.expect("response times");
    assert_eq!(answer.len(), expected.len());
    for (has, exact) in answer.iter().zip(expected) {
        assert!(
            (*exact..=exact + exact / 100).contains(has),
            "{answer:?} is not near {expected:?}"
        );
    }
}

async fn ask(fixture: &UsageFixture, query: &UsageQuery, quantiles: &[f64]) -> Option<Vec<u64>> {
    fixture.store.response_times(query, quantiles).await.unwrap()
}

/// Quantiles are recorded times, by nearest rank, in the order asked.
pub async fn quantiles_are_by_nearest_rank(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    // 10 to 1,000 in an order that is not theirs: 37 and 100 have no common divisor.
    let events: Vec<_> = (0..100)
        .map(|number| taking(account, (number * 37 % 100 + 1) * 10))
        .collect();
    record(&fixture, &events).await;
    let quantiles = [0.5, 0.99, 0.9, 0.95, 0.0, 1.0, 0.25, 0.501, 0.999, 0.01];
    let expected = [500, 990, 900, 950, 10, 1_000, 250, 510, 1_000, 10];
    assert_near(ask(&fixture, &all_of(account), &quantiles).await, &expected);
}

/// Of few requests, too, a quantile is a time that was recorded.
pub async fn quantiles_of_few_requests_are_recorded_times(fixture: UsageFixture) {
    let quantiles = [0.0, 0.25, 0.5, 0.75, 0.95, 1.0];
    let cases: [(&[u64], [u64; 6]); 5] = [
        (&[7], [7; 6]),
        (&[20, 10], [10, 10, 10, 20, 20, 20]),
        (&[30, 10, 20], [10, 10, 20, 30, 30, 30]),
        (&[40, 30, 20, 10], [10, 10, 20, 30, 40, 40]),
        (&[5, 5, 5, 0], [0, 0, 5, 5, 5, 5]),
    ];
    for (times, expected) in cases {
        let account = fixture.owner().await.account;
        let events: Vec<_> = times.iter().map(|micros| taking(account, *micros)).collect();
        record(&fixture, &events).await;
        let answer = ask(&fixture, &all_of(account), &quantiles).await;
        assert_near(answer, &expected);
    }
}

/// Only requests that reached the handler have response times.
pub async fn refused_requests_have_no_response_time(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let not_reached = Event {
        outcome: Outcome::NotReached,
        ..taking(account, 1)
    };
    let refused = Event {
        response_time_us: 999_999,
        ..refused(account, at(1))
    };
    record(&fixture, &[not_reached, refused]).await;
    assert_eq!(ask(&fixture, &all_of(account), &[0.5]).await, None);
    let failed = Event {
        outcome: Outcome::Panicked,
        status: 500,
        ..taking(account, 70)
    };
    record(&fixture, &[taking(account, 50), failed]).await;
    let answer = ask(&fixture, &all_of(account), &[0.0, 1.0]).await;
    assert_near(answer, &[50, 70]);
}

/// Response times are those of the query's range and key.
pub async fn response_times_are_those_of_the_query(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let key = crate::conformance::sample::uuid().into();
    let late = Event {
        at: at(100),
        ..taking(account, 900)
    };
    let keyed = Event {
        key: Some(key),
        ..taking(account, 300)
    };
    record(&fixture, &[taking(account, 100), keyed, late]).await;
    let early = UsageQuery::new(account, at(0), at(100));
    assert_near(ask(&fixture, &early, &[0.0, 1.0]).await, &[100, 300]);
    assert_near(ask(&fixture, &early.of_key(key), &[0.0, 1.0]).await, &[300, 300]);
}

/// A quantile outside 0 to 1 is invalid, and so is one that is no number.
pub async fn a_quantile_outside_its_range_is_invalid(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    record(&fixture, &[taking(account, 100)]).await;
    for bad in [-0.001, 1.001, 50.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let answer = fixture.store.response_times(&all_of(account), &[0.5, bad]).await;
        assert_eq!(kind(answer), StoreErrorKind::Invalid, "{bad}");
    }
}
