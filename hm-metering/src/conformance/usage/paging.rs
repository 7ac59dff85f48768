//! Paging through events.

use super::{UsageFixture, all_events, newest_first, record};
use crate::conformance::sample::{TEXTS, all_of, at, event, kind};
use crate::error::StoreErrorKind;
use crate::page::PageRequest;
use crate::usage::{Event, UsageQuery};

/// The newest event comes first, by its own time and then by id, in whichever order they were recorded.
pub async fn events_are_listed_newest_first(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let mut events = Vec::new();
    for seconds in [5, 1, 3, 3, 3, -9, 4] {
        events.push(event(account, at(seconds)));
        record(&fixture, &events[events.len() - 1..]).await;
    }
    let listed = all_events(&fixture, &all_of(account)).await;
    assert_eq!(listed, newest_first(events));
}

/// Pages follow each other without gap or repetition, and the last one has no cursor.
pub async fn pages_have_each_event_once(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events: Vec<_> = (0..6).map(|number| event(account, at(number / 3))).collect();
    record(&fixture, &events).await;
    record(&fixture, &[event(account, at(100)), event(account, at(-1))]).await;
    let expected = newest_first(events);
    let query = UsageQuery::new(account, at(0), at(100));
    for limit in [1, 2, 3, 4, 6, 7] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let request = PageRequest { limit, cursor };
            let page = fixture.store.recent(&query, &request).await.unwrap();
            let left = expected.len() - seen.len();
            assert_eq!(page.items.len(), limit.min(left), "limit {limit}");
            seen.extend(page.items);
            cursor = page.next;
            let whole = seen.len() == expected.len();
            assert_eq!(cursor.is_none(), whole, "the last page alone has no cursor");
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "limit {limit}");
    }
}

/// A limit of zero is one.
pub async fn a_page_has_at_least_one_event(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events = [event(account, at(2)), event(account, at(1))];
    record(&fixture, &events).await;
    let mut request = PageRequest::first(0);
    for expected in events {
        let page = fixture.store.recent(&all_of(account), &request).await.unwrap();
        assert_eq!(page.items, [expected]);
        request.cursor = page.next;
    }
    assert_eq!(request.cursor, None);
}

/// Events that arrive meanwhile, newer and older ones, neither hide nor repeat those that were there.
pub async fn paging_is_stable_while_events_arrive(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events: Vec<Event> = (0..8).map(|number| event(account, at(number * 10))).collect();
    record(&fixture, &events).await;
    let expected = newest_first(events);
    let (mut seen, mut cursor) = (Vec::<Event>::new(), None);
    loop {
        let request = PageRequest { limit: 3, cursor };
        let page = fixture.store.recent(&all_of(account), &request).await.unwrap();
        let known = |event: &Event| expected.iter().any(|known| known.id == event.id);
        seen.extend(page.items.into_iter().filter(known));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
        assert!(seen.len() <= expected.len(), "events are repeated");
        let last = seen.last().unwrap().at;
        let late: Vec<_> = [at(1_000), last, at(15), at(-15)]
            .map(|at| event(account, at))
            .into();
        record(&fixture, &late).await;
    }
    assert_eq!(seen, expected);
}

/// A cursor that the store did not make is invalid, and one of another account shows nothing of that account.
pub async fn a_made_up_cursor_of_events_is_invalid(fixture: UsageFixture) {
    let (account, stranger) = (fixture.owner().await.account, fixture.owner().await.account);
    record(&fixture, &[event(account, at(1)), event(account, at(2))]).await;
    let long = "9".repeat(100_000);
    for cursor in TEXTS.into_iter().chain(["-1", "\0", long.as_str()]) {
        let request = PageRequest {
            limit: 10,
            cursor: Some(cursor.to_owned()),
        };
        let answer = fixture.store.recent(&all_of(account), &request).await;
        assert_eq!(kind(answer), StoreErrorKind::Invalid);
    }
    let first = fixture
        .store
        .recent(&all_of(account), &PageRequest::first(1))
        .await
        .unwrap();
    let carried = PageRequest {
        limit: 10,
        cursor: first.next,
    };
    if let Ok(page) = fixture.store.recent(&all_of(stranger), &carried).await {
        assert_eq!(page.items, []);
    }
}
