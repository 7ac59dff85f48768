//! Listing an account's keys.

use super::{KeyFixture, with_key};
use crate::conformance::fixture::Owner;
use crate::conformance::sample::{TEXTS, at, kind, new_key};
use crate::error::StoreErrorKind;
use crate::id::KeyId;
use crate::keys::NewKey;
use crate::page::{Page, PageRequest};

async fn make(fixture: &KeyFixture, owner: Owner, seconds: i64) -> KeyId {
    let key = NewKey {
        created_at: at(seconds),
        ..new_key(owner)
    };
    fixture.store.insert(&key).await.unwrap();
    key.id
}

async fn page(fixture: &KeyFixture, owner: Owner, limit: usize, cursor: Option<String>) -> Page<KeyId> {
    let request = PageRequest { limit, cursor };
    let page = fixture.store.list(owner.account, &request).await.unwrap();
    page.map(|record| record.id)
}

/// The newest key comes first; of keys made at the same moment the one with the greater id.
pub async fn keys_are_listed_newest_first(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let mut made = Vec::new();
    for seconds in [3, 1, 2, 2, 2, -5] {
        made.push((at(seconds), make(&fixture, owner, seconds).await));
    }
    made.sort();
    made.reverse();
    let expected: Vec<KeyId> = made.into_iter().map(|(_, id)| id).collect();
    let all = page(&fixture, owner, 100, None).await;
    assert_eq!((all.items, all.next), (expected, None));
}

/// Pages follow each other without gap or repetition, and the last one has no cursor.
pub async fn pages_have_each_key_once(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let mut expected = Vec::new();
    for _ in 0..6 {
        expected.insert(0, make(&fixture, owner, 1).await);
    }
    for limit in [1, 2, 3, 4, 6, 7] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let part = page(&fixture, owner, limit, cursor).await;
            let left = expected.len() - seen.len();
            assert_eq!(part.items.len(), limit.min(left), "limit {limit}");
            seen.extend(part.items);
            cursor = part.next;
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
pub async fn a_page_has_at_least_one_key(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let older = make(&fixture, owner, 1).await;
    let newer = make(&fixture, owner, 2).await;
    let first = page(&fixture, owner, 0, None).await;
    assert_eq!(first.items, [newer]);
    assert_eq!(page(&fixture, owner, 0, first.next).await.items, [older]);
}

/// Keys that are made or changed meanwhile neither hide nor repeat those that were there.
pub async fn paging_is_stable_while_keys_are_made(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let mut expected = Vec::new();
    for seconds in 0..6 {
        expected.insert(0, make(&fixture, owner, seconds * 10).await);
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let part = page(&fixture, owner, 2, cursor).await;
        seen.extend(part.items.into_iter().filter(|id| expected.contains(id)));
        cursor = part.next;
        if cursor.is_none() {
            break;
        }
        assert!(seen.len() <= expected.len(), "keys are repeated");
        make(&fixture, owner, 1_000 + seen.len() as i64).await;
        make(&fixture, owner, 60 - 10 * seen.len() as i64 - 1).await;
        let last = *seen.last().unwrap();
        fixture
            .store
            .revoke(owner.account, last, at(2_000))
            .await
            .unwrap();
    }
    assert_eq!(seen, expected);
}

/// Past keys are listed with the active ones.
pub async fn revoked_keys_are_listed(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let active = make(&fixture, owner, 5).await;
    let revoked = fixture.store.revoke(owner.account, key.id, at(6)).await.unwrap();
    let request = PageRequest::first(10);
    let listed = fixture.store.list(owner.account, &request).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    assert_eq!((listed[0].id, Some(&listed[1])), (active, revoked.as_ref()));
}

/// An account without keys has an empty list.
pub async fn an_account_without_keys_has_an_empty_list(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let all = page(&fixture, owner, 10, None).await;
    assert_eq!((all.items, all.next), (Vec::new(), None));
}

/// A cursor that the store did not make is invalid.
pub async fn a_made_up_cursor_of_keys_is_invalid(fixture: KeyFixture) {
    let (owner, _, _) = with_key(&fixture).await;
    let long = "9".repeat(100_000);
    for cursor in TEXTS.into_iter().chain(["-1", "\0", long.as_str()]) {
        let request = PageRequest {
            limit: 10,
            cursor: Some(cursor.to_owned()),
        };
        let answer = fixture.store.list(owner.account, &request).await;
        assert_eq!(kind(answer), StoreErrorKind::Invalid);
    }
}
