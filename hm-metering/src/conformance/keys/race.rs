//! Many at once, and calls that are given up half-way.

use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{at, at_once, digest, drop_after, kind, new_key};
use crate::error::StoreErrorKind;
use crate::keys::{KeyPatch, KeyUse, NewKey};
use crate::page::PageRequest;

const TASKS: usize = 16;

/// Of many keys with one id, one is kept and the others are conflicts.
pub async fn one_of_many_inserts_wins(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let first = new_key(owner);
    let answers = at_once((0..TASKS).map(|number| {
        let (store, key) = (fixture.store.clone(), first.clone());
        let key = NewKey {
            digest: digest(),
            name: number.to_string(),
            ..key
        };
        async move { store.insert(&key).await }
    }))
    .await;
    let kept = get(&fixture, owner, first.id).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [kept]);
    assert!(
        lost.into_iter()
            .all(|answer| kind(answer) == StoreErrorKind::Conflict)
    );
}

/// Of many revocations one counts, and all answer the same.
pub async fn one_of_many_revocations_counts(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let answers = at_once((0..TASKS).map(|number| {
        let store = fixture.store.clone();
        async move { store.revoke(owner.account, key.id, at(number as i64)).await }
    }))
    .await;
    let record = get(&fixture, owner, key.id).await;
    assert_eq!((record.version, record.is_active), (2, false));
    for answer in answers {
        assert_eq!(answer.unwrap(), Some(record.clone()));
    }
}

/// Of many rotations to one replacement, one counts and the others are conflicts.
pub async fn one_of_many_equal_rotations_counts(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let replacement = new_key(owner);
    let answers = at_once((0..TASKS).map(|_| {
        let (store, replacement) = (fixture.store.clone(), replacement.clone());
        async move {
            store
                .rotate(owner.account, key.id, &replacement, at(60), at(1))
                .await
        }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(
        lost.into_iter()
            .all(|answer| kind(answer) == StoreErrorKind::Conflict)
    );
    let old = get(&fixture, owner, key.id).await;
    assert_eq!((old.version, old.expires_at), (2, Some(at(60))));
    let list = fixture.store.list(owner.account, &PageRequest::first(100)).await;
    assert_eq!(list.unwrap().items.len(), 2);
}

/// Updates of different fields do not undo each other, and each has a version of its own.
pub async fn simultaneous_updates_do_not_undo_each_other(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let answers = at_once((0..TASKS).map(|number| {
        let store = fixture.store.clone();
        let patch = match number % 3 {
            0 => KeyPatch {
                name: Some("renamed".to_owned()),
                ..KeyPatch::default()
            },
            1 => KeyPatch {
                scopes: Some(vec!["changed".to_owned()]),
                ..KeyPatch::default()
            },
            _ => KeyPatch {
                expires_at: Some(Some(at(77))),
                ..KeyPatch::default()
            },
        };
        async move { store.update(owner.account, key.id, &patch, at(1)).await }
    }))
    .await;
    let mut versions: Vec<u64> = answers
        .into_iter()
        .map(|answer| answer.unwrap().unwrap().version)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + TASKS as u64).collect::<Vec<_>>());
    let record = get(&fixture, owner, key.id).await;
    assert_eq!(record.name, "renamed");
    assert_eq!(record.scopes, ["changed"]);
    assert_eq!(record.expires_at, Some(at(77)));
}

/// No update that runs beside a revocation brings the key back.
pub async fn no_update_outruns_a_revocation(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let answers = at_once((0..TASKS).map(|number| {
        let store = fixture.store.clone();
        let on = KeyPatch {
            is_active: Some(true),
            ..KeyPatch::default()
        };
        async move {
            if number == TASKS / 2 {
                store.revoke(owner.account, key.id, at(5)).await
            } else {
                store.update(owner.account, key.id, &on, at(5)).await
            }
        }
    }))
    .await;
    let done = answers.iter().filter(|answer| answer.is_ok()).count();
    for answer in answers {
        assert!(answer.is_ok() || kind(answer) == StoreErrorKind::Conflict);
    }
    let record = get(&fixture, owner, key.id).await;
    assert_eq!((record.is_active, record.revoked_at), (false, Some(at(5))));
    assert_eq!(record.version, 1 + done as u64);
}

/// Uses counted by many at once are all counted.
pub async fn simultaneous_uses_are_all_counted(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let (_, other, _) = with_key(&fixture).await;
    let answers = at_once((0..TASKS).map(|number| {
        let store = fixture.store.clone();
        let used = |key| KeyUse {
            key,
            count: 3,
            last_used_at: at(number as i64),
        };
        // Half of them in the other order: a store that locks rows as they come stops here.
        let mut uses = [used(key.id), used(other.id)];
        if number % 2 == 1 {
            uses.reverse();
        }
        async move { store.mark_used(&uses).await }
    }))
    .await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    let record = get(&fixture, owner, key.id).await;
    assert_eq!(record.usage_count, 3 * TASKS as u64);
    assert_eq!(record.last_used_at, Some(at(TASKS as i64 - 1)));
}

/// A call that is given up half-way has happened wholly or not at all, and the store goes on working.
pub async fn a_dropped_call_leaves_no_half_change(fixture: KeyFixture) {
    for polls in 0..12 {
        let (owner, key, _) = with_key(&fixture).await;
        let store = &fixture.store;
        let replacement = new_key(owner);
        let rotation = store.rotate(owner.account, key.id, &replacement, at(60), at(1));
        drop_after(polls, rotation).await;
        let again = store
            .rotate(owner.account, key.id, &replacement, at(60), at(1))
            .await;
        if let Err(error) = again {
            assert_eq!(error.kind(), StoreErrorKind::Conflict);
        }
        let old = get(&fixture, owner, key.id).await;
        assert_eq!((old.version, old.expires_at), (2, Some(at(60))));
        get(&fixture, owner, replacement.id).await;
        drop_after(polls, store.revoke(owner.account, key.id, at(2))).await;
        let revoked = store.revoke(owner.account, key.id, at(3)).await.unwrap().unwrap();
        assert_eq!((revoked.version, revoked.is_active), (3, false));
        assert!([Some(at(2)), Some(at(3))].contains(&revoked.revoked_at));
    }
}
