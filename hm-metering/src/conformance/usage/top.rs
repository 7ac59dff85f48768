//! Who and what makes the most requests, and how many accounts there are.

use super::{UsageFixture, all_events, record};
use crate::conformance::sample::{all_of, at, event, kind, refused, uuid};
use crate::error::StoreErrorKind;
use crate::id::AccountId;
use crate::name::OperationName;
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{ActiveAccounts, ActiveSpan, Event, Facet, FacetSums, UsageQuery};

const FACETS: [Facet; 5] = [
    Facet::Key,
    Facet::Endpoint,
    Facet::Operation,
    Facet::Source,
    Facet::StatusClass,
];
const DAY: i64 = 86_400;

/// Requests of many kinds over a little more than three days, no two kinds equally many.
fn mixed(account: AccountId) -> Vec<Event> {
    let keys = [uuid(), uuid(), uuid()];
    let endpoints = ["/a", "/A", "/a/{id}", "/ü"];
    let operations = ["data.query", "data.write", "chat"].map(OperationName::from_static);
    let mut events = Vec::new();
    for number in 0..90_usize {
        // Of n numbers about n-th parts: 1/2, 1/4, and so on.
        let share = (number + 1).trailing_zeros() as usize;
        let one = event(account, at(number as i64 * 2_999 - 77));
        let one = Event {
            key: keys.get(share).map(|key| (*key).into()),
            endpoint: endpoints[share.min(3)].into(),
            operation: operations[share.min(2)].clone(),
            source: ["wiki", "WIKI"].get(share).map(|source| (*source).into()),
            status: [200, 404, 500, 301][share.min(3)],
            ..one
        };
        events.push(if number % 7 == 6 {
            Event {
                outcome: crate::usage::Outcome::Refused,
                status: 429,
                units: Vec::new(),
                ..one
            }
        } else {
            one
        });
    }
    events
}

/// The same values, in the order of their requests; equals in one order.
fn sorted(mut sums: Vec<FacetSums>) -> Vec<FacetSums> {
    sums.sort_by(|a, b| (b.requests, &a.value).cmp(&(a.requests, &b.value)));
    sums
}

/// By each facet, those with the most requests come first.
pub async fn the_top_has_the_most_requests_first(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events = mixed(account);
    record(&fixture, &events).await;
    for facet in FACETS {
        let top = fixture.store.top(&all_of(account), facet, 100).await.unwrap();
        assert!(
            top.is_sorted_by(|a, b| a.requests >= b.requests),
            "{facet:?}: {top:?}"
        );
        assert_eq!(sorted(top), FacetSums::of(facet, events.iter()), "{facet:?}");
    }
}

/// The sums of all values together are the totals, also of requests that have no value.
pub async fn the_top_adds_up_to_the_totals(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    for part in mixed(account).chunks(40) {
        record(&fixture, part).await;
    }
    let whole = all_of(account);
    let totals = fixture.store.totals(&whole).await.unwrap();
    for facet in FACETS {
        let top = fixture.store.top(&whole, facet, 100).await.unwrap();
        let sum = |of: fn(&FacetSums) -> u64| top.iter().map(of).sum::<u64>();
        assert_eq!(sum(|sums| sums.requests), totals.requests, "{facet:?}");
        assert_eq!(sum(|sums| sums.refused), totals.refused, "{facet:?}");
        assert_eq!(sum(|sums| sums.failed), totals.failed, "{facet:?}");
        let units = top.iter().fold(Units::ZERO, |sum, one| sum.plus(one.units));
        assert_eq!(totals.units.values().copied().sum_up(), units, "{facet:?}");
    }
}

trait SumUp {
    fn sum_up(self) -> Units;
}

impl<I: Iterator<Item = Units>> SumUp for I {
    fn sum_up(self) -> Units {
        self.fold(Units::ZERO, Units::plus)
    }
}

/// Only events of the query's account, range and key are in the sums.
pub async fn the_top_is_that_of_the_query(fixture: UsageFixture) {
    let (account, stranger) = (fixture.owner().await.account, fixture.owner().await.account);
    let events = mixed(account);
    record(&fixture, &events).await;
    record(&fixture, &mixed(stranger)).await;
    let key = events.iter().find_map(|event| event.key).unwrap();
    let ranges = [
        (-77, 100_000),
        (3_600, 7_200),
        (59, DAY + 1),
        (DAY, 2 * DAY),
        (5, 5),
    ];
    for (from, to) in ranges {
        let query = UsageQuery::new(account, at(from), at(to));
        for query in [query.clone(), query.of_key(key)] {
            let listed = all_events(&fixture, &query).await;
            for facet in FACETS {
                let top = fixture.store.top(&query, facet, 100).await.unwrap();
                assert_eq!(
                    sorted(top),
                    FacetSums::of(facet, listed.iter()),
                    "{facet:?} of {query:?}"
                );
            }
        }
    }
}

/// No more values come than were asked for, at least one, and at most [`UsageQuery::MAX_TOP`].
pub async fn the_top_is_bounded(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let most = UsageQuery::MAX_TOP;
    let events: Vec<_> = (0..most + 50)
        .map(|number| Event {
            endpoint: format!("/{number}").into(),
            ..event(account, at(1))
        })
        .collect();
    record(&fixture, &events).await;
    record(&fixture, &[refused(account, at(2)), refused(account, at(2))]).await;
    for (limit, expected) in [(0, 1), (1, 1), (10, 10), (most, most), (usize::MAX, most)] {
        let top = fixture
            .store
            .top(&all_of(account), Facet::Endpoint, limit)
            .await
            .unwrap();
        assert_eq!(top.len(), expected);
        assert_eq!(top[0].value.as_deref(), Some("/api/v1/data"));
    }
}

fn active(start: i64, accounts: u64) -> ActiveAccounts {
    ActiveAccounts {
        start: at(start),
        accounts,
    }
}

/// An account counts once for each day in UTC and each week from Monday in which it has events, refused ones included.
pub async fn active_accounts_are_counted_once_a_day_and_a_week(fixture: UsageFixture) {
    let (one, other) = (fixture.owner().await.account, fixture.owner().await.account);
    // The sample time is noon of a Thursday.
    let noon = DAY / 2;
    record(
        &fixture,
        &[event(one, at(0)), event(one, at(1)), refused(other, at(noon - 1))],
    )
    .await;
    record(&fixture, &[event(one, at(noon)), event(one, at(3 * DAY))]).await;
    record(
        &fixture,
        &[event(one, at(4 * DAY)), event(other, at(4 * DAY + 5))],
    )
    .await;
    let (from, to) = (at(-noon), at(30 * DAY));
    let days = fixture
        .store
        .active_accounts(from, to, ActiveSpan::Day)
        .await
        .unwrap();
    let expected = [
        active(-noon, 2),
        active(noon, 1),
        active(3 * DAY - noon, 1),
        active(4 * DAY - noon, 2),
    ];
    assert_eq!(days, expected);
    let weeks = fixture
        .store
        .active_accounts(from, to, ActiveSpan::Week)
        .await
        .unwrap();
    assert_eq!(weeks, [active(-3 * DAY - noon, 2), active(4 * DAY - noon, 2)]);
}

/// Days count whose midnight lies in the range, a week has only those of its days, and the range has a greatest length.
pub async fn active_accounts_are_those_of_the_range(fixture: UsageFixture) {
    let (one, other) = (fixture.owner().await.account, fixture.owner().await.account);
    record(&fixture, &[event(one, at(0)), event(other, at(DAY))]).await;
    let noon = DAY / 2;
    let ask = |from: Timestamp, to: Timestamp, span| fixture.store.active_accounts(from, to, span);
    let monday = -3 * DAY - noon;
    for (from, to, days, weeks) in [
        (-noon, noon, vec![active(-noon, 1)], vec![active(monday, 1)]),
        (-noon + 1, noon, vec![], vec![]),
        (
            -noon + 1,
            noon + 1,
            vec![active(noon, 1)],
            vec![active(monday, 1)],
        ),
        (noon, noon, vec![], vec![]),
    ] {
        assert_eq!(ask(at(from), at(to), ActiveSpan::Day).await.unwrap(), days);
        assert_eq!(ask(at(from), at(to), ActiveSpan::Week).await.unwrap(), weeks);
    }
    let endless = ask(Timestamp::MIN, Timestamp::MAX, ActiveSpan::Week).await;
    assert_eq!(kind(endless), StoreErrorKind::Invalid);
}
