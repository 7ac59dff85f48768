//! Rotating a key.

use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{at, digest, kind, new_key};
use crate::error::StoreErrorKind;
use crate::keys::{KeyRecord, NewKey};
use crate::page::PageRequest;

/// The replacement is kept and answered; the old key goes on until the overlap ends, and its version rises.
pub async fn rotating_keeps_the_replacement_and_ends_the_old_key(fixture: KeyFixture) {
    let (owner, key, first) = with_key(&fixture).await;
    let replacement = NewKey {
        name: "the next one".to_owned(),
        created_at: at(5),
        ..new_key(owner)
    };
    let store = &fixture.store;
    let rotated = store
        .rotate(owner.account, key.id, &replacement, at(65), at(5))
        .await;
    let answer = rotated.unwrap().unwrap();
    assert_eq!(
        (answer.id, answer.version, answer.usage_count),
        (replacement.id, 1, 0)
    );
    assert_eq!(
        (answer.name.as_str(), answer.created_at, answer.is_active),
        ("the next one", at(5), true)
    );
    assert_eq!(get(&fixture, owner, replacement.id).await, answer);
    let found = store.find_by_digest(&[replacement.digest]).await.unwrap();
    assert_eq!(found.unwrap().record, answer);
    let expected = KeyRecord {
        expires_at: Some(at(65)),
        version: 2,
        ..first
    };
    assert_eq!(get(&fixture, owner, key.id).await, expected);
}

/// Rotating never lets the old key live longer than it would have.
pub async fn rotating_never_lengthens_the_old_keys_life(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let key = NewKey {
        expires_at: Some(at(30)),
        ..new_key(owner)
    };
    let store = &fixture.store;
    store.insert(&key).await.unwrap();
    store
        .rotate(owner.account, key.id, &new_key(owner), at(65), at(5))
        .await
        .unwrap();
    let old = get(&fixture, owner, key.id).await;
    assert_eq!((old.expires_at, old.version), (Some(at(30)), 2));
}

/// A replacement whose id or digest is there already is a conflict, and nothing changes.
pub async fn a_replacement_never_overwrites(fixture: KeyFixture) {
    let (owner, key, record) = with_key(&fixture).await;
    let (_, taken, other) = with_key(&fixture).await;
    let store = &fixture.store;
    let replacements = [
        NewKey {
            id: taken.id,
            ..new_key(owner)
        },
        NewKey {
            digest: taken.digest,
            ..new_key(owner)
        },
        NewKey {
            id: key.id,
            ..new_key(owner)
        },
        NewKey {
            digest: key.digest,
            ..new_key(owner)
        },
    ];
    for replacement in replacements {
        let rotated = store
            .rotate(owner.account, key.id, &replacement, at(65), at(5))
            .await;
        assert_eq!(kind(rotated), StoreErrorKind::Conflict);
        assert_eq!(get(&fixture, owner, key.id).await, record);
    }
    let list = store.list(owner.account, &PageRequest::first(100)).await.unwrap();
    assert_eq!(list.items, [record]);
    let found = store.find_by_digest(&[taken.digest]).await.unwrap();
    assert_eq!(found.unwrap().record, other);
}

/// A rotation that is repeated after an unknown outcome is a conflict and changes nothing more.
pub async fn a_repeated_rotation_changes_nothing(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let replacement = new_key(owner);
    let store = &fixture.store;
    store
        .rotate(owner.account, key.id, &replacement, at(65), at(5))
        .await
        .unwrap();
    let again = store
        .rotate(owner.account, key.id, &replacement, at(50), at(6))
        .await;
    assert_eq!(kind(again), StoreErrorKind::Conflict);
    let old = get(&fixture, owner, key.id).await;
    assert_eq!((old.expires_at, old.version), (Some(at(65)), 2));
}

/// A revoked key can't be rotated, and the replacement is not kept.
pub async fn a_revoked_key_can_not_be_rotated(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let store = &fixture.store;
    let revoked = store.revoke(owner.account, key.id, at(5)).await.unwrap();
    let replacement = NewKey {
        digest: digest(),
        ..new_key(owner)
    };
    let rotated = store
        .rotate(owner.account, key.id, &replacement, at(65), at(6))
        .await;
    assert_eq!(kind(rotated), StoreErrorKind::Conflict);
    assert_eq!(Some(get(&fixture, owner, key.id).await), revoked);
    assert_eq!(store.get(owner.account, replacement.id).await.unwrap(), None);
    assert_eq!(store.find_by_digest(&[replacement.digest]).await.unwrap(), None);
}
