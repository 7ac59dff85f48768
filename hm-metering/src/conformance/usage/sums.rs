//! Totals and series.

use super::{UsageFixture, all_events, record};
use crate::conformance::sample::{TOKENS, all_of, at, event, kind, refused, uuid};
use crate::error::StoreErrorKind;
use crate::id::AccountId;
use crate::name::MeterName;
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Event, Grain, Outcome, UsageQuery, UsageTotals};

/// Requests of all kinds, spread over two days.
fn mixed(account: AccountId) -> Vec<Event> {
    let key = uuid().into();
    (0..120)
        .map(|number: i64| {
            let moment = at(number * 1_461 - 977);
            let event = Event {
                key: (number % 3 == 0).then_some(key),
                status: 200 + (number % 5) as u16 * 100,
                ..event(account, moment)
            };
            match number % 6 {
                0 => Event {
                    units: vec![
                        (MeterName::REQUESTS, Units::ONE),
                        (TOKENS, Units::new(number as u64 + 1)),
                    ],
                    ..event
                },
                1 => refused(account, moment),
                2 => Event {
                    status: 503,
                    ..refused(account, moment)
                },
                3 => Event {
                    outcome: Outcome::NotReached,
                    units: Vec::new(),
                    ..event
                },
                4 => Event {
                    outcome: Outcome::Panicked,
                    units: Vec::new(),
                    ..event
                },
                _ => event,
            }
        })
        .collect()
}

fn sum<'a>(events: impl IntoIterator<Item = &'a Event>) -> UsageTotals {
    let mut totals = UsageTotals::default();
    for event in events {
        totals.add(event);
    }
    totals
}

/// Refused requests are counted apart and are no failures; failures are answers of 500 and above by the handler.
pub async fn totals_tell_refused_from_failed(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let with = |status, outcome| Event {
        status,
        outcome,
        ..event(account, at(1))
    };
    let events = [
        with(200, Outcome::Completed),
        with(499, Outcome::ClientGone),
        with(500, Outcome::Completed),
        with(503, Outcome::ServiceError),
        with(599, Outcome::BodyError),
        Event {
            units: Vec::new(),
            ..with(503, Outcome::NotReached)
        },
        refused(account, at(2)),
        Event {
            status: 503,
            ..refused(account, at(2))
        },
    ];
    record(&fixture, &events).await;
    let totals = fixture.store.totals(&all_of(account)).await.unwrap();
    let expected = UsageTotals {
        requests: 8,
        refused: 3,
        failed: 3,
        units: [(MeterName::REQUESTS, Units::new(5))].into(),
    };
    assert_eq!(totals, expected);
}

/// Totals equal the sums over the listed events, over any range and key.
pub async fn totals_equal_the_sum_of_events(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events = mixed(account);
    for part in events.chunks(50) {
        record(&fixture, part).await;
    }
    let key = events[0].key.unwrap();
    let whole = all_of(account);
    let queries = [
        whole.clone(),
        whole.of_key(key),
        UsageQuery::new(account, at(-977), at(3_600)),
        UsageQuery::new(
            account,
            Timestamp::from_micros(at(1_945).as_micros() + 1),
            at(99_999),
        ),
        UsageQuery::new(account, at(1_000_000), at(2_000_000)),
    ];
    for query in queries {
        let listed = all_events(&fixture, &query).await;
        let expected = sum(events.iter().filter(|event| query.matches(event)));
        assert_eq!(fixture.store.totals(&query).await.unwrap(), expected);
        assert_eq!(sum(&listed), expected);
    }
}

/// Meters are summed up each on its own, and those with nothing charged are left out.
pub async fn meters_are_summed_up_apart(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let with = |units| Event {
        units,
        ..event(account, at(1))
    };
    let events = [
        with(vec![
            (MeterName::REQUESTS, Units::ONE),
            (TOKENS, Units::new(1_000_000)),
        ]),
        with(vec![(TOKENS, Units::new(7))]),
        with(Vec::new()),
    ];
    record(&fixture, &events).await;
    let totals = fixture.store.totals(&all_of(account)).await.unwrap();
    let expected = [(MeterName::REQUESTS, Units::ONE), (TOKENS, Units::new(1_000_007))];
    assert_eq!(totals.units, expected.into());
}

/// Sums of units stop at the greatest number there is.
pub async fn great_sums_stop_at_the_end(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events = [(); 3].map(|()| Event {
        units: vec![(MeterName::REQUESTS, Units::MAX)],
        ..event(account, at(1))
    });
    record(&fixture, &events).await;
    let totals = fixture.store.totals(&all_of(account)).await.unwrap();
    assert_eq!(totals, sum(&events));
}

/// Each grain of a series has the sums of its events, in order of time, and grains without events are left out.
pub async fn a_series_has_the_sums_of_each_grain(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events = mixed(account);
    record(&fixture, &events).await;
    let key = events[0].key.unwrap();
    let range = UsageQuery::new(account, at(-977), at(200_000));
    for query in [range.clone(), range.of_key(key)] {
        for grain in [Grain::Minute, Grain::Hour, Grain::Day] {
            let points = fixture.store.series(&query, grain).await.unwrap();
            let starts: Vec<_> = points.iter().map(|point| point.start).collect();
            let mut expected: Vec<_> = events
                .iter()
                .filter(|event| query.matches(event))
                .map(|event| grain.start_of(event.at))
                .collect();
            expected.sort();
            expected.dedup();
            assert_eq!(starts, expected, "{grain:?}");
            for point in points {
                let within = |event: &&Event| query.matches(event) && grain.start_of(event.at) == point.start;
                let expected = sum(events.iter().filter(within));
                assert_eq!(point.totals, expected, "{grain:?} {}", point.start);
            }
        }
    }
}

/// Grains are cut in UTC, also before 1970, and the first and last have only what lies in the range.
pub async fn a_series_is_cut_by_its_range(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let moment = |micros| Timestamp::from_micros(micros);
    let minute = 60_000_000;
    let times = [-minute - 1, -minute, -1, 0, 1, minute - 1, minute];
    let events = times.map(|micros| event(account, moment(micros)));
    record(&fixture, &events).await;
    let query = UsageQuery::new(account, moment(-minute), moment(minute - 1));
    let points = fixture.store.series(&query, Grain::Minute).await.unwrap();
    let seen: Vec<_> = points
        .iter()
        .map(|point| (point.start, point.totals.requests))
        .collect();
    assert_eq!(seen, [(moment(-minute), 2), (moment(0), 2)]);
    let days = fixture.store.series(&query, Grain::Day).await.unwrap();
    let seen: Vec<_> = days
        .iter()
        .map(|point| (point.start.as_micros(), point.totals.requests))
        .collect();
    assert_eq!(seen, [(-86_400_000_000, 2), (0, 2)]);
}

/// A range with more grains than a series may have is invalid; the longest there may be is answered.
pub async fn a_series_has_a_greatest_length(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    record(&fixture, &[event(account, at(0))]).await;
    let most = UsageQuery::MAX_POINTS as i64;
    let minutes = |number: i64| UsageQuery::new(account, at(0), at(number * 60));
    let longest = fixture.store.series(&minutes(most), Grain::Minute).await;
    assert_eq!(longest.unwrap().len(), 1);
    let longer = fixture.store.series(&minutes(most + 1), Grain::Minute).await;
    assert_eq!(kind(longer), StoreErrorKind::Invalid);
    let all = fixture.store.series(&all_of(account), Grain::Day).await;
    assert_eq!(kind(all), StoreErrorKind::Invalid);
}
