//! The feed of changes.

use std::collections::HashSet;

use super::{KeyFixture, with_key};
use crate::conformance::sample::{FAR, FREE, PRO, at, at_once, new_key};
use crate::id::KeyId;
use crate::keys::{ChangeCursor, ChangeSubject, KeyPatch};

/// How often a feed is asked for a change that has to come. A store may hold a change back while an older
/// transaction is open, so one call may be too early.
const ATTEMPTS: usize = 5_000;

/// The cursor of this moment.
pub(super) async fn start(fixture: &KeyFixture) -> ChangeCursor {
    let page = fixture.store.changes_since(None, 100).await.unwrap();
    assert_eq!(page.changes, [], "changes without a cursor");
    assert!(!page.more, "more changes without a cursor");
    page.cursor
}

/// Whether nothing is waiting after `cursor`. A store that gives changes twice may never be quiet.
pub(super) async fn is_quiet(fixture: &KeyFixture, cursor: ChangeCursor) -> bool {
    let page = fixture.store.changes_since(Some(cursor), 100).await.unwrap();
    assert!(page.cursor >= cursor, "the feed went back");
    page.changes.is_empty() && !page.more
}

/// Follows the feed from `cursor`, `limit` changes at a time, until it has given all of `expected`.
async fn follow(
    fixture: &KeyFixture,
    mut cursor: ChangeCursor,
    limit: usize,
    expected: &[ChangeSubject],
) -> Vec<ChangeSubject> {
    let mut seen = Vec::new();
    for _ in 0..ATTEMPTS {
        let page = fixture.store.changes_since(Some(cursor), limit).await.unwrap();
        assert!(page.changes.len() <= limit.max(1), "more changes than asked for");
        assert!(page.cursor >= cursor, "the feed went back");
        assert!(
            page.changes.is_empty() || page.cursor > cursor || !page.more,
            "the feed does not move on"
        );
        cursor = page.cursor;
        seen.extend(page.changes);
        if expected.iter().all(|change| seen.contains(change)) {
            return seen;
        }
        tokio::task::yield_now().await;
    }
    panic!("the feed lost a change: {expected:?} expected, {seen:?} seen");
}

fn changed(key: KeyId, version: u64) -> ChangeSubject {
    ChangeSubject::Key { key, version }
}

fn rename(number: usize) -> KeyPatch {
    KeyPatch {
        name: Some(format!("name {number}")),
        ..KeyPatch::default()
    }
}

/// Every change of a key is in the feed, with the version it led to, oldest first.
pub async fn every_change_of_a_key_is_in_the_feed(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let store = &fixture.store;
    let cursor = start(&fixture).await;
    store
        .update(owner.account, key.id, &rename(1), at(1))
        .await
        .unwrap();
    store
        .rotate(owner.account, key.id, &new_key(owner), at(9), at(2))
        .await
        .unwrap();
    store.revoke(owner.account, key.id, at(3)).await.unwrap();
    let expected = [changed(key.id, 2), changed(key.id, 3), changed(key.id, 4)];
    let seen = follow(&fixture, cursor, 100, &expected).await;
    let first = |change| seen.iter().position(|seen| *seen == change);
    assert!(expected.map(first).is_sorted(), "not oldest first: {seen:?}");
}

/// A change is in the feed for a cursor from before it, however often and late that cursor is used.
pub async fn a_cursor_can_be_used_again(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let cursor = start(&fixture).await;
    fixture.store.revoke(owner.account, key.id, at(3)).await.unwrap();
    for _ in 0..3 {
        follow(&fixture, cursor, 100, &[changed(key.id, 2)]).await;
    }
    assert!(start(&fixture).await >= cursor);
}

/// Another plan and the end of an account are in the feed.
pub async fn changes_of_accounts_are_in_the_feed(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let (owner, _, _) = with_key(&fixture).await;
    let change = [ChangeSubject::Account(owner.account)];
    let cursor = start(&fixture).await;
    fixture.accounts.set_plan(owner.account, &PRO).await;
    follow(&fixture, cursor, 100, &change).await;
    let (other, _, _) = with_key(&fixture).await;
    let change = [ChangeSubject::Account(other.account)];
    let cursor = start(&fixture).await;
    fixture.accounts.close(other.account).await;
    follow(&fixture, cursor, 100, &change).await;
}

/// A move to another plan is in the feed when it is scheduled, and when it is taken back.
pub async fn scheduled_moves_are_in_the_feed(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let (owner, _, _) = with_key(&fixture).await;
    let change = [ChangeSubject::Account(owner.account)];
    let cursor = start(&fixture).await;
    fixture.accounts.schedule_plan(owner.account, &PRO, at(FAR)).await;
    follow(&fixture, cursor, 100, &change).await;
    let cursor = start(&fixture).await;
    fixture.accounts.set_plan(owner.account, &FREE).await;
    follow(&fixture, cursor, 100, &change).await;
}

/// A page has at most as many changes as asked for, says whether more are waiting, and the next goes on after it.
pub async fn the_feed_comes_in_pages(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let cursor = start(&fixture).await;
    for number in 0..7 {
        let patch = rename(number);
        fixture
            .store
            .update(owner.account, key.id, &patch, at(1))
            .await
            .unwrap();
    }
    let expected: Vec<_> = (2..=8).map(|version| changed(key.id, version)).collect();
    follow(&fixture, cursor, 100, &expected).await;
    for limit in [0, 1, 3, 7] {
        follow(&fixture, cursor, limit, &expected).await;
        let page = fixture.store.changes_since(Some(cursor), limit).await.unwrap();
        assert_eq!(page.changes.len(), limit.max(1));
        assert_eq!(
            page.more,
            limit < 7,
            "whether more than {limit} of seven changes are waiting"
        );
    }
    let end = start(&fixture).await;
    is_quiet(&fixture, end).await;
}

/// Revoking a second time puts nothing in the feed.
pub async fn revoking_again_is_not_in_the_feed(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let store = &fixture.store;
    store.revoke(owner.account, key.id, at(3)).await.unwrap();
    let cursor = start(&fixture).await;
    let quiet = is_quiet(&fixture, cursor).await;
    store.revoke(owner.account, key.id, at(4)).await.unwrap();
    if quiet {
        assert!(
            is_quiet(&fixture, cursor).await,
            "a second revocation is in the feed"
        );
    }
}

/// Nothing is lost while many change keys and one reads along.
pub async fn the_feed_loses_nothing_while_many_change(fixture: KeyFixture) {
    const TASKS: usize = 8;
    const CHANGES: usize = 6;
    let mut keys = Vec::new();
    for _ in 0..TASKS {
        let (owner, key, _) = with_key(&fixture).await;
        keys.push((owner, key.id));
    }
    let cursor = start(&fixture).await;
    let expected: Vec<_> = keys
        .iter()
        .flat_map(|(_, key)| (2..2 + CHANGES as u64).map(|version| changed(*key, version)))
        .collect();
    let store = fixture.store.clone();
    let changing = tokio::spawn(at_once(keys.into_iter().map(move |(owner, key)| {
        let store = store.clone();
        async move {
            for number in 0..CHANGES {
                let patch = rename(number);
                let updated = store.update(owner.account, key, &patch, at(1)).await;
                assert!(updated.unwrap().is_some());
            }
        }
    })));
    let mut seen = HashSet::new();
    let mut place = cursor;
    while !changing.is_finished() {
        let page = fixture.store.changes_since(Some(place), 3).await.unwrap();
        assert!(page.cursor >= place, "the feed went back");
        place = page.cursor;
        seen.extend(page.changes.into_iter().map(|change| format!("{change:?}")));
        tokio::task::yield_now().await;
    }
    changing.await.expect("the changes should be made");
    let missing: Vec<_> = expected
        .into_iter()
        .filter(|change| !seen.contains(&format!("{change:?}")))
        .collect();
    follow(&fixture, place, 3, &missing).await;
}
