//! The cases of [`UsageSink`] and of [`UsageStore`].

mod paging;
mod prune;
mod sink;
mod store;
mod sums;
mod times;
mod top;

pub use paging::*;
pub use prune::*;
pub use sink::*;
pub use store::*;
pub use sums::*;
pub use times::*;
pub use top::*;

use super::Fixture;
use super::fixture::Case;
use super::sample::batch;
use crate::page::PageRequest;
use crate::usage::{Event, Recorded, UsageQuery, UsageSink, UsageStore};

/// What a case of the sinks' suite gets.
pub type SinkFixture = Fixture<dyn UsageSink>;

/// What a case of the stores' suite gets.
pub type UsageFixture = Fixture<dyn UsageStore>;

/// All cases for sinks.
#[must_use]
pub fn sink_cases() -> Vec<Case<dyn UsageSink>> {
    crate::__usage_sink_cases!([crate::__conformance_list])
}

/// All cases for stores, beside those for sinks.
#[must_use]
pub fn cases() -> Vec<Case<dyn UsageStore>> {
    crate::__usage_store_cases!([crate::__conformance_list])
}

/// Records `events` in a batch of their own.
async fn record(fixture: &UsageFixture, events: &[Event]) {
    let batch = batch(events.to_vec());
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::New);
}

/// All events of a query, page by page.
async fn all_events(fixture: &UsageFixture, query: &UsageQuery) -> Vec<Event> {
    let (mut events, mut cursor) = (Vec::new(), None);
    loop {
        let request = PageRequest {
            limit: PageRequest::MAX,
            cursor,
        };
        let page = fixture.store.recent(query, &request).await.unwrap();
        assert!(page.items.len() <= PageRequest::MAX, "a page is too long");
        assert!(
            !page.items.is_empty() || page.next.is_none(),
            "an empty page that is not the last"
        );
        events.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return events;
        }
    }
}

/// The events as a list has them: newest first, by time, then by id.
fn newest_first(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|event| std::cmp::Reverse((event.at, event.id)));
    events
}
