//! The cases of a store that is key store and sink in one and counts itself how often keys are used.

use super::Fixture;
use super::fixture::Case;
use super::sample::{at, batch_of, event, holder, kind, new_key, refused};
use crate::error::StoreErrorKind;
use crate::keys::{KeyStore, NewKey};
use crate::time::Timestamp;
use crate::usage::{Batch, Event, Recorded, UsageSink};

/// A sink that keeps keys too.
pub trait CountingStore: KeyStore + UsageSink {}

impl<S: KeyStore + UsageSink> CountingStore for S {}

/// What a case of this suite gets.
pub type CountingFixture = Fixture<dyn CountingStore>;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn CountingStore>> {
    crate::__counting_store_cases!([crate::__conformance_list])
}

async fn with_key(fixture: &CountingFixture) -> NewKey {
    let key = new_key(fixture.owner().await);
    fixture.store.insert(&key).await.unwrap();
    key
}

fn by(key: &NewKey, event: Event) -> Event {
    Event {
        key: Some(key.id),
        ..event
    }
}

/// Two uses of a key, and a request of it that was refused later.
fn two_uses(key: &NewKey) -> Batch {
    let events = vec![
        by(key, event(key.account, at(20))),
        by(key, event(key.account, at(10))),
        by(key, refused(key.account, at(30))),
        event(key.account, at(40)),
    ];
    batch_of(holder(), 1, events)
}

async fn used(fixture: &CountingFixture, key: &NewKey) -> (u64, Option<Timestamp>) {
    let found = fixture.store.get(key.account, key.id).await.unwrap();
    let record = found.expect("the key should be there");
    (record.usage_count, record.last_used_at)
}

/// Key store and sink name the same database.
pub async fn the_sink_is_the_one_that_counts(fixture: CountingFixture) {
    let identity = fixture.store.identity();
    assert!(identity.is_some());
    assert_eq!(fixture.store.uses_counted_by(), identity);
}

/// Recording a batch counts its requests that reached the handler, by the keys that they were made with.
pub async fn recording_counts_what_reached_the_handler(fixture: CountingFixture) {
    let (key, other) = (with_key(&fixture).await, with_key(&fixture).await);
    fixture.store.record(&two_uses(&key)).await.unwrap();
    assert_eq!(used(&fixture, &key).await, (2, Some(at(20))));
    assert_eq!(used(&fixture, &other).await, (0, None));
}

/// A batch that is sent again counts once.
pub async fn recording_again_counts_nothing(fixture: CountingFixture) {
    let key = with_key(&fixture).await;
    let batch = two_uses(&key);
    for expected in [Recorded::New, Recorded::Repeated, Recorded::Repeated] {
        assert_eq!(fixture.store.record(&batch).await.unwrap(), expected);
        assert_eq!(used(&fixture, &key).await.0, 2);
    }
}

/// A batch that is refused counts nothing.
pub async fn a_refused_batch_counts_nothing(fixture: CountingFixture) {
    let key = with_key(&fixture).await;
    let batch = two_uses(&key);
    fixture.store.record(&batch).await.unwrap();
    let other = Batch {
        events: vec![by(&key, event(key.account, at(50)))],
        ..batch
    };
    assert_eq!(kind(fixture.store.record(&other).await), StoreErrorKind::Conflict);
    assert_eq!(used(&fixture, &key).await, (2, Some(at(20))));
}
