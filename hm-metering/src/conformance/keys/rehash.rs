//! Keeping a key under another hash.

use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{at_once, digest, kind};
use crate::error::StoreErrorKind;
use crate::key::{KeyDigest, KeyHash, SlowHash};

const TASKS: usize = 16;

fn hash(slow: Option<&str>) -> KeyHash {
    KeyHash {
        digest: digest(),
        pepper: 7,
        slow: slow.map(|text| SlowHash::new(text).unwrap()),
    }
}

async fn is_found(fixture: &KeyFixture, digest: KeyDigest) -> bool {
    fixture.store.find_by_digest(&[digest]).await.unwrap().is_some()
}

/// A key that was hashed anew is found under its new digest, with its new slow hash, and not under the old one. Nothing else
/// of it changes.
pub async fn a_rehashed_key_is_found_under_its_new_digest_only(fixture: KeyFixture) {
    let (owner, key, record) = with_key(&fixture).await;
    let (_, neighbour, _) = with_key(&fixture).await;
    let longest = "x".repeat(SlowHash::MAX_LEN);
    let mut from = key.digest;
    for slow in [
        Some("$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA"),
        None,
        Some(&longest),
    ] {
        let to = hash(slow);
        assert!(fixture.store.rehash(key.id, &from, &to).await.unwrap());
        assert!(!is_found(&fixture, from).await);
        let found = fixture
            .store
            .find_by_digest(&[from, to.digest])
            .await
            .unwrap()
            .unwrap();
        assert_eq!((found.digest, found.slow_hash), (to.digest, to.slow));
        assert_eq!(found.record, record);
        assert_eq!(get(&fixture, owner, key.id).await, record);
        from = to.digest;
    }
    // The same digest, with another slow hash.
    let to = KeyHash {
        digest: from,
        ..hash(Some("$other$"))
    };
    assert!(fixture.store.rehash(key.id, &from, &to).await.unwrap());
    let found = fixture.store.find_by_digest(&[from]).await.unwrap().unwrap();
    assert_eq!(found.slow_hash, to.slow);
    assert!(is_found(&fixture, neighbour.digest).await);
}

/// A key that is not kept under the digest that is named stays as it is: somebody else was faster, or it is another key.
pub async fn a_rehash_that_comes_late_changes_nothing(fixture: KeyFixture) {
    let (_, key, _) = with_key(&fixture).await;
    let (_, other, _) = with_key(&fixture).await;
    let (first, second) = (hash(Some("$first$")), hash(Some("$second$")));
    let store = &fixture.store;
    assert!(store.rehash(key.id, &key.digest, &first).await.unwrap());
    for (id, from) in [
        (key.id, key.digest),
        (key.id, other.digest),
        (other.id, first.digest),
    ] {
        assert!(!store.rehash(id, &from, &second).await.unwrap());
    }
    assert!(!is_found(&fixture, second.digest).await);
    let found = store.find_by_digest(&[first.digest]).await.unwrap().unwrap();
    assert_eq!((found.record.id, found.slow_hash), (key.id, first.slow));
    assert!(is_found(&fixture, other.digest).await);
}

/// A digest that another key has is a conflict, and both keys stay as they were.
pub async fn a_rehash_never_overwrites(fixture: KeyFixture) {
    let (_, key, _) = with_key(&fixture).await;
    let (_, other, _) = with_key(&fixture).await;
    let taken = KeyHash {
        digest: other.digest,
        ..hash(None)
    };
    let answer = fixture.store.rehash(key.id, &key.digest, &taken).await;
    assert_eq!(kind(answer), StoreErrorKind::Conflict);
    for kept in [&key, &other] {
        let found = fixture.store.find_by_digest(&[kept.digest]).await.unwrap();
        assert_eq!(found.unwrap().record.id, kept.id);
    }
}

/// Hashing anew is no change that anybody has to hear of.
pub async fn rehashing_is_not_in_the_feed(fixture: KeyFixture) {
    let (_, key, _) = with_key(&fixture).await;
    let begun = fixture.store.changes_since(None, 10).await.unwrap().cursor;
    assert!(
        fixture
            .store
            .rehash(key.id, &key.digest, &hash(None))
            .await
            .unwrap()
    );
    let page = fixture.store.changes_since(Some(begun), 10).await.unwrap();
    assert_eq!(page.changes, []);
}

/// Of many that hash a key anew at once, one succeeds and the others change nothing.
pub async fn one_of_many_rehashes_counts(fixture: KeyFixture) {
    let (_, key, record) = with_key(&fixture).await;
    let hashes: Vec<_> = (0..TASKS).map(|_| hash(Some("$slow$"))).collect();
    let answers = at_once(hashes.iter().map(|to| {
        let (store, to) = (fixture.store.clone(), to.clone());
        async move { store.rehash(key.id, &key.digest, &to).await }
    }))
    .await;
    let mut found = 0;
    for (to, answer) in hashes.iter().zip(answers) {
        let kept = fixture.store.find_by_digest(&[to.digest]).await.unwrap();
        assert_eq!(answer.unwrap(), kept.is_some());
        found += usize::from(kept.is_some_and(|kept| kept.record == record));
    }
    assert_eq!((found, is_found(&fixture, key.digest).await), (1, false));
}
