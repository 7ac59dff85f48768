//! Keeping a new key.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{KeyFixture, get, with_key};
use crate::conformance::sample::{FAR_TIMES, TEXTS, at, digest, kind, networks, new_key, rate, uuid};
use crate::error::StoreErrorKind;
use crate::key::KeyEnv;
use crate::keys::{IpAllow, KeyLimits, KeyQuotas, KeyRecord, NewKey};
use crate::name::MeterName;
use crate::period::PeriodRule;
use crate::plan::{Quota, QuotaMode, RateLimit};
use crate::time::Timestamp;
use crate::units::Units;

fn fresh(key: &NewKey) -> KeyRecord {
    KeyRecord {
        id: key.id,
        account: key.account,
        user: key.user,
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        last4: key.last4.clone(),
        env: key.env,
        scopes: key.scopes.clone(),
        ip_allow: key.ip_allow.clone(),
        limits: key.limits.clone(),
        quotas: key.quotas.clone(),
        is_active: true,
        not_before: key.not_before,
        expires_at: key.expires_at,
        revoked_at: None,
        last_used_at: None,
        usage_count: 0,
        metadata: key.metadata.clone(),
        created_at: key.created_at,
        version: 1,
    }
}

/// A new key is switched on, unused, at version one, and has what it was made with.
pub async fn a_new_key_is_answered_as_it_was_given(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let key = NewKey {
        env: KeyEnv::Test,
        scopes: vec!["b".to_owned(), "a".to_owned(), "b:c".to_owned()],
        ip_allow: networks(&["203.0.113.0/24", "198.51.100.1/32", "2001:db8::/32", "::/0"]),
        limits: KeyLimits::new([rate("second", 10), rate("a-day_2", u32::MAX)]).unwrap(),
        not_before: Some(at(5)),
        expires_at: Some(at(500)),
        ..new_key(owner)
    };
    let answer = fixture.store.insert(&key).await.unwrap();
    assert_eq!(answer, fresh(&key));
    assert_eq!(get(&fixture, owner, key.id).await, answer);
}

/// A key without scopes, networks, limits, quotas, dates and facts is kept like that.
pub async fn a_bare_key_is_kept_bare(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let key = NewKey {
        scopes: Vec::new(),
        ip_allow: IpAllow::default(),
        limits: KeyLimits::default(),
        quotas: KeyQuotas::default(),
        metadata: Default::default(),
        ..new_key(owner)
    };
    fixture.store.insert(&key).await.unwrap();
    assert_eq!(get(&fixture, owner, key.id).await, fresh(&key));
}

/// As many networks, rates and quotas as a key may have are kept, in their order.
pub async fn a_key_keeps_all_its_networks_and_limits(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    let networks =
        (0..IpAllow::MAX).map(|number| format!("2001:db8:{:x}::/48", 0xffff - number).parse().unwrap());
    let rates = (1..=KeyLimits::MAX_RATES).map(|number| RateLimit {
        name: "x".repeat(64),
        per: Duration::from_micros(86_400_000_001),
        ..rate("", u32::try_from(number).unwrap())
    });
    let rules = [
        PeriodRule::AnchoredMonth,
        PeriodRule::WEEK,
        PeriodRule::Fixed {
            seconds: NonZeroU32::MAX,
        },
        PeriodRule::Hour,
    ];
    let quotas = rules.into_iter().enumerate().map(|(place, period)| Quota {
        meter: MeterName::parse(&"m".repeat(KeyQuotas::METER_MAX - place)).unwrap(),
        mode: QuotaMode::Soft,
        ..Quota::new(Units::MAX.get(), period)
    });
    let key = NewKey {
        ip_allow: IpAllow::new(networks).unwrap(),
        limits: KeyLimits::new(rates).unwrap(),
        quotas: KeyQuotas::new(quotas).unwrap(),
        ..new_key(owner)
    };
    fixture.store.insert(&key).await.unwrap();
    assert_eq!(get(&fixture, owner, key.id).await, fresh(&key));
    let found = fixture.store.find_by_digest(&[key.digest]).await.unwrap();
    assert_eq!(found.unwrap().record, fresh(&key));
}

/// Any text comes back as it was: Unicode, quotes, what looks like SQL.
pub async fn text_comes_back_as_it_was(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    for text in TEXTS {
        let key = NewKey {
            name: text.to_owned(),
            scopes: vec![text.to_owned(), "data:read".to_owned()],
            metadata: [
                (format!("fact {text}"), text.to_owned()),
                ("x".to_owned(), String::new()),
            ]
            .into(),
            ..new_key(owner)
        };
        fixture.store.insert(&key).await.unwrap();
        assert_eq!(get(&fixture, owner, key.id).await, fresh(&key));
    }
}

/// Far-away times are kept to the microsecond.
pub async fn times_are_kept_to_the_microsecond(fixture: KeyFixture) {
    let owner = fixture.owner().await;
    for far in FAR_TIMES {
        let key = NewKey {
            not_before: Some(Timestamp::MIN),
            expires_at: Some(far),
            created_at: far,
            ..new_key(owner)
        };
        fixture.store.insert(&key).await.unwrap();
        assert_eq!(get(&fixture, owner, key.id).await, fresh(&key));
    }
}

/// A second key with the same id is a conflict, and the first stays as it was.
pub async fn an_id_is_never_overwritten(fixture: KeyFixture) {
    let (owner, key, record) = with_key(&fixture).await;
    let other = NewKey {
        digest: digest(),
        name: "usurper".to_owned(),
        ..key.clone()
    };
    assert_eq!(kind(fixture.store.insert(&other).await), StoreErrorKind::Conflict);
    assert_eq!(get(&fixture, owner, key.id).await, record);
    assert_eq!(fixture.store.find_by_digest(&[other.digest]).await.unwrap(), None);
    let found = fixture.store.find_by_digest(&[key.digest]).await.unwrap();
    assert_eq!(found.unwrap().record, record);
}

/// A second key with the same digest is a conflict, even another account's, and the first stays as it was.
pub async fn a_digest_is_never_overwritten(fixture: KeyFixture) {
    let (_, key, record) = with_key(&fixture).await;
    let stranger = fixture.owner().await;
    let other = NewKey {
        digest: key.digest,
        ..new_key(stranger)
    };
    assert_eq!(kind(fixture.store.insert(&other).await), StoreErrorKind::Conflict);
    assert_eq!(fixture.store.get(stranger.account, other.id).await.unwrap(), None);
    let found = fixture.store.find_by_digest(&[key.digest]).await.unwrap();
    assert_eq!(found.unwrap().record, record);
}

/// Even a revoked key's id and digest are never given away.
pub async fn a_revoked_key_is_never_overwritten(fixture: KeyFixture) {
    let (owner, key, _) = with_key(&fixture).await;
    fixture.store.revoke(owner.account, key.id, at(5)).await.unwrap();
    assert_eq!(kind(fixture.store.insert(&key).await), StoreErrorKind::Conflict);
    let again = NewKey {
        id: uuid().into(),
        ..key.clone()
    };
    assert_eq!(kind(fixture.store.insert(&again).await), StoreErrorKind::Conflict);
    assert_eq!(get(&fixture, owner, key.id).await.revoked_at, Some(at(5)));
}

/// A key for an account that is not there is not kept.
pub async fn a_key_needs_its_account(fixture: KeyFixture) {
    if !fixture.accounts.are_kept() {
        return;
    }
    let mut key = new_key(fixture.owner().await);
    key.account = uuid().into();
    assert_eq!(kind(fixture.store.insert(&key).await), StoreErrorKind::NotFound);
    assert_eq!(fixture.store.get(key.account, key.id).await.unwrap(), None);
    assert_eq!(fixture.store.find_by_digest(&[key.digest]).await.unwrap(), None);
}
