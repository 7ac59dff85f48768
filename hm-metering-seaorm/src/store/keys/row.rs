//! Rows of `api_keys` and the records they stand for.

use std::collections::BTreeMap;

use hm_metering::key::{KeyDigest, SlowHash};
use hm_metering::keys::{IpAllow, KeyLimits, KeyPatch, KeyQuotas, KeyRecord, NewKey};
use hm_metering::{AccountId, KeyEnv, KeyId, Timestamp, UserId};
use sea_orm::prelude::Json;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::entity::api_key::Model;
use crate::entity::{KeyHash, SlowKeyHash};
use crate::error::Failure;
use crate::store::text::{NAME_MAX, must_be_plain, must_fit};

/// What the columns for short texts hold, in characters.
const PREFIX_MAX: usize = 64;
const LAST4_MAX: usize = 8;

/// The row of a new key of an account on plan `tier`.
pub(super) fn from_new(key: &NewKey, tier: String) -> Result<Model, Failure> {
    must_fit(&key.name, NAME_MAX)?;
    must_fit(&key.prefix, PREFIX_MAX)?;
    must_fit(&key.last4, LAST4_MAX)?;
    check_scopes(&key.scopes)?;
    check_limits(&key.limits)?;
    check_metadata(&key.metadata)?;
    Ok(Model {
        id: key.id.as_uuid(),
        user_id: key.user.as_uuid(),
        account_id: key.account.as_uuid(),
        key_hash: hash(&key.digest),
        pepper_id: i32::from(key.pepper),
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        last4: key.last4.clone(),
        env: key.env.as_str().to_owned(),
        scopes: json!(key.scopes),
        tier,
        is_active: true,
        created_at: key.created_at.as_micros(),
        updated_at: key.created_at.as_micros(),
        last_used_at: None,
        expires_at: key.expires_at.map(Timestamp::as_micros),
        not_before: key.not_before.map(Timestamp::as_micros),
        revoked_at: None,
        usage_count: 0,
        version: 1,
        ip_allow: json!(key.ip_allow),
        metadata: json!(key.metadata),
        rate_limit: rate_limit(&key.limits),
        slow_hash: key.slow_hash.as_ref().map(slow_hash),
        quotas: quotas(&key.quotas),
        quotas_since: (!key.quotas.is_empty()).then_some(key.created_at.as_micros()),
    })
}

/// Changes what `patch` names, at `now`.
pub(super) fn apply(patch: &KeyPatch, row: &mut Model, now: Timestamp) -> Result<(), Failure> {
    if let Some(name) = &patch.name {
        must_fit(name, NAME_MAX)?;
        row.name.clone_from(name);
    }
    if let Some(scopes) = &patch.scopes {
        check_scopes(scopes)?;
        row.scopes = json!(scopes);
    }
    if let Some(ip_allow) = &patch.ip_allow {
        row.ip_allow = json!(ip_allow);
    }
    if let Some(limits) = &patch.limits {
        check_limits(limits)?;
        row.rate_limit = rate_limit(limits);
    }
    if let Some(new) = &patch.quotas {
        // With other limits alone the counters stay.
        if !read_quotas(row.quotas.take())?.count_like(new) {
            row.quotas_since = (!new.is_empty()).then_some(now.as_micros());
        }
        row.quotas = quotas(new);
    }
    if let Some(is_active) = patch.is_active {
        row.is_active = is_active;
    }
    if let Some(expires_at) = patch.expires_at {
        row.expires_at = expires_at.map(Timestamp::as_micros);
    }
    if let Some(metadata) = &patch.metadata {
        check_metadata(metadata)?;
        row.metadata = json!(metadata);
    }
    Ok(())
}

fn check_scopes(scopes: &[String]) -> Result<(), Failure> {
    must_be_plain(scopes.iter().map(String::as_str))
}

fn check_limits(limits: &KeyLimits) -> Result<(), Failure> {
    must_be_plain(limits.rates().iter().map(|rate| rate.name.as_str()))
}

fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), Failure> {
    must_be_plain(metadata.iter().flat_map(|(name, fact)| [name.as_str(), fact]))
}

/// The record that a row stands for.
pub(super) fn into_record(row: Model) -> Result<KeyRecord, Failure> {
    Ok(KeyRecord {
        id: KeyId::from_uuid(row.id),
        account: AccountId::from_uuid(row.account_id),
        user: UserId::from_uuid(row.user_id),
        name: row.name,
        prefix: row.prefix,
        last4: row.last4,
        env: KeyEnv::parse(&row.env).ok_or(Failure::CORRUPT)?,
        scopes: read::<Vec<String>>(row.scopes)?,
        ip_allow: read::<IpAllow>(row.ip_allow)?,
        limits: row
            .rate_limit
            .map_or(Ok(KeyLimits::default()), read::<KeyLimits>)?,
        quotas: read_quotas(row.quotas)?,
        is_active: row.is_active,
        not_before: row.not_before.map(Timestamp::from_micros),
        expires_at: row.expires_at.map(Timestamp::from_micros),
        revoked_at: row.revoked_at.map(Timestamp::from_micros),
        last_used_at: row.last_used_at.map(Timestamp::from_micros),
        usage_count: u64::try_from(row.usage_count).unwrap_or(0),
        metadata: read::<BTreeMap<String, String>>(row.metadata)?,
        created_at: Timestamp::from_micros(row.created_at),
        version: u64::try_from(row.version).map_err(Failure::unreadable)?,
    })
}

/// The column value of a key's own rates.
fn rate_limit(limits: &KeyLimits) -> Option<Json> {
    (!limits.is_empty()).then(|| json!(limits))
}

/// The column value of a key's own quotas.
fn quotas(quotas: &KeyQuotas) -> Option<Json> {
    (!quotas.is_empty()).then(|| json!(quotas))
}

/// The quotas in a column.
pub(in crate::store) fn read_quotas(quotas: Option<Json>) -> Result<KeyQuotas, Failure> {
    quotas.map_or(Ok(KeyQuotas::default()), read::<KeyQuotas>)
}

/// The column value of a digest.
pub(super) fn hash(digest: &KeyDigest) -> KeyHash {
    KeyHash(digest.as_bytes().to_vec())
}

/// The column value of a slow hash.
pub(super) fn slow_hash(hash: &SlowHash) -> SlowKeyHash {
    SlowKeyHash(hash.expose().to_owned())
}

/// The slow hash in a row.
pub(super) fn read_slow_hash(row: &Model) -> Result<Option<SlowHash>, Failure> {
    let hash = row.slow_hash.as_ref().map(|hash| SlowHash::new(hash.0.clone()));
    hash.transpose().map_err(Failure::unreadable)
}

/// The digest in a row.
pub(super) fn digest(row: &Model) -> Result<KeyDigest, Failure> {
    let bytes = <[u8; 32]>::try_from(row.key_hash.0.as_slice()).map_err(Failure::unreadable)?;
    Ok(KeyDigest::from_bytes(bytes))
}

fn read<T: DeserializeOwned>(json: Json) -> Result<T, Failure> {
    serde_json::from_value(json).map_err(Failure::unreadable)
}
