//! Changing and revoking a key.

use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{TEXTS, at, kind, networks, new_key, rate};
use crate::error::StoreErrorKind;
use crate::keys::{IpAllow, KeyLimits, KeyPatch, KeyQuotas, KeyRecord, NewKey};
use crate::plan::Quota;

/// An update changes what it names and nothing else, and the version rises.
pub async fn an_update_changes_what_it_names_and_nothing_else(fixture: KeyFixture) {
    type Change = fn(&mut KeyPatch, &mut KeyRecord);
    let changes: [Change; 8] = [
        |patch, record| {
            patch.name = Some(TEXTS[2].to_owned());
            record.name = TEXTS[2].to_owned();
        },
        |patch, record| {
            patch.scopes = Some(vec![TEXTS[5].to_owned(), "b".to_owned()]);
            record.scopes = vec![TEXTS[5].to_owned(), "b".to_owned()];
        },
        |patch, record| {
            patch.ip_allow = Some(networks(&["2001:db8::/32", "0.0.0.0/0"]));
            record.ip_allow = networks(&["2001:db8::/32", "0.0.0.0/0"]);
        },
        |patch, record| {
            let limits = KeyLimits::new([rate("b", 2), rate("a", 1)]).unwrap();
            patch.limits = Some(limits.clone());
            record.limits = limits;
        },
        |patch, record| {
            let quotas = KeyQuotas::new([Quota::per_day(3).of("tokens"), Quota::per_hour(2)]).unwrap();
            patch.quotas = Some(quotas.clone());
            record.quotas = quotas;
        },
        |patch, record| {
            patch.is_active = Some(false);
            record.is_active = false;
        },
        |patch, record| {
            patch.expires_at = Some(Some(at(99)));
            record.expires_at = Some(at(99));
        },
        |patch, record| {
            patch.metadata = Some([("k".to_owned(), "v".to_owned())].into());
            record.metadata = [("k".to_owned(), "v".to_owned())].into();
        },
    ];
    for change in changes {
        let (owner, key, mut expected) = with_key(&fixture).await;
        let (_, neighbour, untouched) = with_key(&fixture).await;
        let mut patch = KeyPatch::default();
        change(&mut patch, &mut expected);
        expected.version += 1;
        let answer = fixture.store.update(owner.account, key.id, &patch, at(7)).await;
        assert_eq!(answer.unwrap(), Some(expected.clone()));
        assert_eq!(get(&fixture, owner, key.id).await, expected);
        let found = fixture.store.find_by_digest(&[neighbour.digest]).await.unwrap();
        assert_eq!(found.unwrap().record, untouched);
    }
}

/// An update can name everything at once, take an end away, and empty lists.
pub async fn an_update_can_take_things_away(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let key = NewKey {
        expires_at: Some(at(100)),
        ..new_key(owner)
    };
    let first = fixture.store.insert(&key).await.unwrap();
    let patch = KeyPatch {
        name: Some(String::new()),
        scopes: Some(Vec::new()),
        ip_allow: Some(IpAllow::default()),
        limits: Some(KeyLimits::default()),
        is_active: Some(true),
        expires_at: Some(None),
        metadata: Some(Default::default()),
        quotas: Some(KeyQuotas::default()),
    };
    let answer = fixture.store.update(owner.account, key.id, &patch, at(7)).await;
    let expected = KeyRecord {
        name: String::new(),
        scopes: Vec::new(),
        ip_allow: IpAllow::default(),
        limits: KeyLimits::default(),
        quotas: KeyQuotas::default(),
        expires_at: None,
        metadata: Default::default(),
        version: 2,
        ..first
    };
    assert_eq!(answer.unwrap(), Some(expected));
}

/// A key can be switched off and on again.
pub async fn a_key_can_be_switched_off_and_on(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    for (number, on) in [false, true, false, true].into_iter().enumerate() {
        let patch = KeyPatch {
            is_active: Some(on),
            ..KeyPatch::default()
        };
        fixture
            .store
            .update(owner.account, key.id, &patch, at(7))
            .await
            .unwrap();
        let record = get(&fixture, owner, key.id).await;
        assert_eq!((record.is_active, record.version), (on, number as u64 + 2));
    }
}

/// Revoking switches a key off for good and says when; its version rises.
pub async fn revoking_switches_a_key_off(fixture: KeyFixture) {
    let (owner, key, first) = with_key(&fixture).await;
    let expected = KeyRecord {
        is_active: false,
        revoked_at: Some(at(5)),
        version: 2,
        ..first
    };
    let answer = fixture.store.revoke(owner.account, key.id, at(5)).await;
    assert_eq!(answer.unwrap(), Some(expected.clone()));
    assert_eq!(get(&fixture, owner, key.id).await, expected);
}

/// Revoking again changes nothing, not even the time.
pub async fn revoking_again_changes_nothing(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let store = &fixture.store;
    let first = store.revoke(owner.account, key.id, at(5)).await.unwrap();
    for later in [at(5), at(6), at(4)] {
        let again = store.revoke(owner.account, key.id, later).await.unwrap();
        assert_eq!(again, first);
    }
    assert_eq!(Some(get(&fixture, owner, key.id).await), first);
}

/// A revoked key can't be changed any more: no update brings it back.
pub async fn a_revoked_key_can_not_be_updated(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    let store = &fixture.store;
    let revoked = store.revoke(owner.account, key.id, at(5)).await.unwrap();
    let patches = [
        KeyPatch {
            is_active: Some(true),
            ..KeyPatch::default()
        },
        KeyPatch {
            name: Some("back".to_owned()),
            ..KeyPatch::default()
        },
    ];
    for patch in patches {
        let answer = store.update(owner.account, key.id, &patch, at(6)).await;
        assert_eq!(kind(answer), StoreErrorKind::Conflict);
    }
    assert_eq!(Some(get(&fixture, owner, key.id).await), revoked);
}
