//! Counting uses.

use super::feed::{is_quiet, start};
use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{at, just_after, new_key, uuid};
use crate::id::KeyId;
use crate::keys::KeyUse;
use crate::time::Timestamp;

fn used(key: KeyId, count: u64, last_used_at: Timestamp) -> KeyUse {
    KeyUse {
        key,
        count,
        last_used_at,
    }
}

/// Uses add up, also when one call names a key twice, and change nothing else of the record.
pub async fn uses_add_up(fixture: KeyFixture) {
    let (owner, key, mut expected) = with_key(&fixture).await;
    let store = &fixture.store;
    store.mark_used(&[]).await.unwrap();
    store.mark_used(&[used(key.id, 3, at(10))]).await.unwrap();
    let twice = [used(key.id, 1_000_000, at(20)), used(key.id, 4, at(15))];
    store.mark_used(&twice).await.unwrap();
    expected.usage_count = 1_000_007;
    expected.last_used_at = Some(at(20));
    assert_eq!(get(&fixture, owner, key.id).await, expected);
}

/// The time of last use moves forward only; a late report is counted all the same.
pub async fn the_last_use_never_moves_back(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let latest = just_after(at(20));
    for (time, count, expected) in [(at(20), 1, at(20)), (at(10), 2, at(20)), (latest, 3, latest)] {
        fixture.store.mark_used(&[used(key.id, 1, time)]).await.unwrap();
        let record = get(&fixture, owner, key.id).await;
        assert_eq!((record.usage_count, record.last_used_at), (count, Some(expected)));
    }
}

/// Keys that are not there are passed over, and the others are counted.
pub async fn uses_of_unknown_keys_are_passed_over(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let second = new_key(owner);
    fixture.store.insert(&second).await.unwrap();
    let uses = [
        used(key.id, 1, at(1)),
        used(uuid().into(), 7, at(2)),
        used(second.id, 2, at(3)),
    ];
    fixture.store.mark_used(&uses).await.unwrap();
    assert_eq!(get(&fixture, owner, key.id).await.usage_count, 1);
    assert_eq!(get(&fixture, owner, second.id).await.usage_count, 2);
}

/// Uses are no change: neither the version nor the feed moves.
pub async fn uses_are_not_in_the_feed(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let cursor = start(&fixture).await;
    let quiet = is_quiet(&fixture, cursor).await;
    fixture.store.mark_used(&[used(key.id, 1, at(1))]).await.unwrap();
    assert_eq!(get(&fixture, owner, key.id).await.version, 1);
    if quiet {
        assert!(is_quiet(&fixture, cursor).await, "a use is in the feed");
    }
}
