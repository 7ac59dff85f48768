//! Finding a key by its digest.

use super::{KeyFixture, with_key};
use crate::conformance::sample::{FAR, FREE, PRO, at, digest, new_key};
use crate::key::KeyDigest;
use crate::keys::{KeyPatch, NewKey, StoredKey};

async fn find(fixture: &KeyFixture, digest: KeyDigest) -> StoredKey {
    let found = fixture.store.find_by_digest(&[digest]).await.unwrap();
    found.expect("the key should be found")
}

/// A key is found by its digest, with its slow hash and its account's plan and beginning.
pub async fn a_key_is_found_with_its_accounts_plan(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let owner = fixture.owner_on(&PRO, at(-77)).await;
    let key = new_key(owner);
    let record = fixture.store.insert(&key).await.unwrap();
    let expected = StoredKey {
        record,
        digest: key.digest,
        slow_hash: key.slow_hash,
        plan: PRO,
        next_plan: None,
        anchor: at(-77),
        account_open: true,
    };
    assert_eq!(find(&fixture, key.digest).await, expected);
}

/// A key made with an older pepper is found among several digests, and the answer says under which.
pub async fn a_key_is_found_under_any_of_several_digests(fixture: KeyFixture) {
    let (_, key, record) = with_key(&fixture).await;
    for digests in [[key.digest, digest(), digest()], [digest(), digest(), key.digest]] {
        let found = fixture.store.find_by_digest(&digests).await.unwrap().unwrap();
        assert_eq!((found.record, found.digest), (record.clone(), key.digest));
    }
}

/// No such key is an answer, not an error.
pub async fn an_unknown_digest_is_no_key(fixture: KeyFixture) {
    let (_, key, _) = with_key(&fixture).await;
    assert_eq!(fixture.store.find_by_digest(&[]).await.unwrap(), None);
    let unknown = [digest(), digest()];
    assert_eq!(fixture.store.find_by_digest(&unknown).await.unwrap(), None);
    for at in [0, 15, 16, 31] {
        let mut near = *key.digest.as_bytes();
        near[at] ^= 1;
        let near = KeyDigest::from_bytes(near);
        assert_eq!(fixture.store.find_by_digest(&[near]).await.unwrap(), None);
    }
}

/// Digests of all bytes are kept whole.
pub async fn digests_of_any_bytes_are_told_apart(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let mut keys = Vec::new();
    for byte in [0x00, 0x20, 0x27, 0x5c, 0xff] {
        let mut bytes = *digest().as_bytes();
        bytes[16..].fill(byte);
        let key = NewKey {
            digest: KeyDigest::from_bytes(bytes),
            ..new_key(owner)
        };
        fixture.store.insert(&key).await.unwrap();
        keys.push(key);
    }
    for key in keys {
        let found = find(&fixture, key.digest).await;
        assert_eq!((found.record.id, found.digest), (key.id, key.digest));
    }
}

/// Revoked, expired and disabled keys are found, so that logs can tell them from unknown ones.
pub async fn keys_that_are_not_valid_are_found(fixture: KeyFixture) {
    let (owner, revoked, _) = with_key(&fixture).await;
    let store = &fixture.store;
    store.revoke(owner.account, revoked.id, at(5)).await.unwrap();
    assert_eq!(
        find(&fixture, revoked.digest).await.record.revoked_at,
        Some(at(5))
    );
    let expired = NewKey {
        expires_at: Some(at(-1)),
        ..new_key(owner)
    };
    store.insert(&expired).await.unwrap();
    assert_eq!(
        find(&fixture, expired.digest).await.record.expires_at,
        Some(at(-1))
    );
    let disabled = new_key(owner);
    store.insert(&disabled).await.unwrap();
    let off = KeyPatch {
        is_active: Some(false),
        ..KeyPatch::default()
    };
    store
        .update(owner.account, disabled.id, &off, at(6))
        .await
        .unwrap();
    assert!(!find(&fixture, disabled.digest).await.record.is_active);
}

/// The plan is the one that the account has now.
pub async fn a_found_key_has_the_plan_of_now(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let (owner, key, record) = with_key(&fixture).await;
    assert_eq!(find(&fixture, key.digest).await.plan, FREE);
    fixture.accounts.set_plan(owner.account, &PRO).await;
    let found = find(&fixture, key.digest).await;
    assert_eq!((found.plan, found.anchor), (PRO, at(0)));
    assert_eq!(found.record, record);
}

/// A move that is scheduled is found with the plan, before and after its time, until another move.
pub async fn a_found_key_has_the_scheduled_plan(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let (owner, key, _) = with_key(&fixture).await;
    for time in [at(FAR), at(FAR + 1)] {
        fixture.accounts.schedule_plan(owner.account, &PRO, time).await;
        let found = find(&fixture, key.digest).await;
        assert_eq!((&found.plan, &found.next_plan), (&FREE, &Some((PRO, time))));
        assert_eq!(found.plan_at(at(FAR - 1)).0, &FREE);
        assert_eq!(found.plan_at(time), (&PRO, None));
    }
}

/// A move at once takes a scheduled one back, even to the plan that the account is on.
pub async fn a_move_at_once_takes_a_scheduled_one_back(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let (owner, key, _) = with_key(&fixture).await;
    for plan in [FREE, PRO] {
        let (other, time) = (if plan == FREE { PRO } else { FREE }, at(FAR));
        fixture.accounts.schedule_plan(owner.account, &other, time).await;
        assert!(find(&fixture, key.digest).await.next_plan.is_some());
        fixture.accounts.set_plan(owner.account, &plan).await;
        let found = find(&fixture, key.digest).await;
        assert_eq!((found.plan, found.next_plan), (plan, None));
    }
}

/// The keys of a closed account are found, and the answer says that it is closed.
pub async fn the_keys_of_a_closed_account_say_so(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let (closed, key, _) = with_key(&fixture).await;
    let (_, other, _) = with_key(&fixture).await;
    fixture.accounts.close(closed.account).await;
    assert!(!find(&fixture, key.digest).await.account_open);
    assert!(find(&fixture, other.digest).await.account_open);
}
