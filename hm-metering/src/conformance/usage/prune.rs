//! Removing old events.

use super::{UsageFixture, all_events, newest_first, record};
use crate::conformance::sample::{all_of, at, batch, event};
use crate::usage::{Event, Recorded, UsageQuery, UsageTotals};

/// Events before the moment are removed, of all accounts; one at the moment stays.
pub async fn old_events_are_removed(fixture: UsageFixture) {
    let (account, other) = (fixture.owner().await.account, fixture.owner().await.account);
    let events: Vec<_> = (0..6).map(|second| event(account, at(second))).collect();
    record(&fixture, &events).await;
    record(&fixture, &[event(other, at(1)), event(other, at(4))]).await;
    assert_eq!(fixture.store.prune(at(3), 100).await.unwrap(), 4);
    let left = all_events(&fixture, &all_of(account)).await;
    assert_eq!(left, newest_first(events[3..].to_vec()));
    assert_eq!(all_events(&fixture, &all_of(other)).await.len(), 1);
    assert_eq!(fixture.store.prune(at(3), 100).await.unwrap(), 0);
}

/// At most as many as the limit go, the oldest first, and the rest can be removed by further calls.
pub async fn removing_is_bounded_and_oldest_first(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events: Vec<_> = [4, 0, 3, 1, 2].map(|second| event(account, at(second))).into();
    record(&fixture, &events).await;
    let expected = newest_first(events);
    let mut left = 5;
    for (limit, removed) in [(0, 0), (2, 2), (1, 1), (5, 1), (5, 0)] {
        assert_eq!(fixture.store.prune(at(4), limit).await.unwrap(), removed);
        left -= removed as usize;
        assert_eq!(all_events(&fixture, &all_of(account)).await, expected[..left]);
    }
}

/// After removal totals have all events that are left, and no more than there ever were; where none was removed they are
/// those of the events that are listed.
pub async fn totals_have_the_events_that_are_left(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events: Vec<_> = (0..10).map(|second| event(account, at(second))).collect();
    record(&fixture, &events).await;
    fixture.store.prune(at(100), 4).await.unwrap();
    let kept = UsageQuery::new(account, at(4), at(100));
    let mut expected = UsageTotals::default();
    for event in all_events(&fixture, &all_of(account)).await {
        expected.add(&event);
    }
    assert_eq!(expected.requests, 6);
    assert_eq!(fixture.store.totals(&kept).await.unwrap(), expected);
    let totals = fixture.store.totals(&all_of(account)).await.unwrap();
    assert!((6..=10).contains(&totals.requests), "{totals:?}");
}

/// Batch ids outlive their events: a batch that is sent again is still recognised and brings nothing back.
pub async fn batch_ids_outlive_their_events(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let batch = batch(vec![event(account, at(1)), event(account, at(2))]);
    fixture.store.record(&batch).await.unwrap();
    assert_eq!(fixture.store.prune(at(100), 100).await.unwrap(), 2);
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::Repeated);
    assert_eq!(all_events(&fixture, &all_of(account)).await, Vec::<Event>::new());
}
