//! One account never sees or changes another's keys.

use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{at, kind, new_key, uuid};
use crate::error::StoreErrorKind;
use crate::keys::{KeyPatch, NewKey};
use crate::page::PageRequest;

fn rename() -> KeyPatch {
    KeyPatch {
        name: Some("mine now".to_owned()),
        ..KeyPatch::default()
    }
}

/// Another account's key is answered like one that does not exist, and stays as it was.
pub async fn another_accounts_key_is_not_there(fixture: KeyFixture) {
    let (owner, key, record) = with_key(&fixture).await;
    let stranger = fixture.owner().await;
    let store = &fixture.store;
    let replacement = new_key(stranger);
    for id in [key.id, uuid().into()] {
        assert_eq!(store.get(stranger.account, id).await.unwrap(), None);
        let updated = store.update(stranger.account, id, &rename(), at(1)).await;
        assert_eq!(updated.unwrap(), None);
        assert_eq!(store.revoke(stranger.account, id, at(1)).await.unwrap(), None);
        let rotated = store
            .rotate(stranger.account, id, &replacement, at(2), at(1))
            .await;
        assert_eq!(rotated.unwrap(), None);
    }
    assert_eq!(store.get(stranger.account, replacement.id).await.unwrap(), None);
    assert_eq!(store.find_by_digest(&[replacement.digest]).await.unwrap(), None);
    assert_eq!(get(&fixture, owner, key.id).await, record);
}

/// Even a revoked key of another account gives no conflict away.
pub async fn another_accounts_revoked_key_is_not_there(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let stranger = fixture.owner().await;
    let store = &fixture.store;
    store.revoke(owner.account, key.id, at(1)).await.unwrap();
    let updated = store.update(stranger.account, key.id, &rename(), at(2)).await;
    assert_eq!(updated.unwrap(), None);
    let rotated = store
        .rotate(stranger.account, key.id, &new_key(stranger), at(2), at(2))
        .await;
    assert_eq!(rotated.unwrap(), None);
}

/// A list has the account's own keys only, also with a cursor from another account's list.
pub async fn a_list_has_the_accounts_own_keys(fixture: KeyFixture) {
    let (owner, first, _) = with_key(&fixture).await;
    let (stranger, foreign, _) = with_key(&fixture).await;
    let store = &fixture.store;
    let second = NewKey {
        created_at: at(9),
        ..new_key(owner)
    };
    store.insert(&second).await.unwrap();
    let page = store.list(owner.account, &PageRequest::first(100)).await.unwrap();
    let ids: Vec<_> = page.items.iter().map(|record| record.id).collect();
    assert_eq!(ids, [second.id, first.id]);
    let half = store.list(owner.account, &PageRequest::first(1)).await.unwrap();
    let carried = PageRequest {
        limit: 100,
        cursor: half.next,
    };
    if let Ok(page) = store.list(stranger.account, &carried).await {
        assert!(page.items.iter().all(|record| record.id == foreign.id));
    }
}

/// A replacement for another account is refused, and nothing changes.
pub async fn a_key_is_not_rotated_into_another_account(fixture: KeyFixture) {
    let (owner, key, record) = with_key(&fixture).await;
    let stranger = fixture.owner().await;
    let store = &fixture.store;
    let replacement = new_key(stranger);
    let rotated = store
        .rotate(owner.account, key.id, &replacement, at(2), at(1))
        .await;
    assert_eq!(kind(rotated), StoreErrorKind::Invalid);
    assert_eq!(get(&fixture, owner, key.id).await, record);
    assert_eq!(store.get(stranger.account, replacement.id).await.unwrap(), None);
}
