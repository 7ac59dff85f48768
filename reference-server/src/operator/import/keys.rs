//! Keys by their digest.

use std::collections::HashSet;

use hm_metering::key::{KeyDigest, LegacyBcrypt, SlowHash};
use hm_metering::keys::{IpAllow, KeyLimits, KeyQuotas, NewKey};
use hm_metering::{KeyEnv, KeyStore, StoreErrorKind, Timestamp};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::{KeyHash, account, api_key, membership};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Deserialize;
use uuid::Uuid;

use super::{Counts, ImportError, Mistakes};
use crate::database::Database;
use crate::domain::keys::PEPPER_NUMBER;
use crate::domain::names;
use crate::operator::OperatorError;

/// A key as the file has it. Its digest is HMAC-SHA-256 of the key under the pepper of that number, in 64 hexadecimal
/// digits. A key of an earlier system has its start and its bcrypt hash in place of that.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    account_id: Uuid,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    start: Option<String>,
    #[serde(default)]
    bcrypt: Option<String>,
    #[serde(default)]
    pepper: Option<u16>,
    name: String,
    prefix: String,
    last4: String,
    #[serde(default)]
    env: Option<String>,
    /// Divided by spaces.
    #[serde(default)]
    scopes: Option<String>,
    #[serde(default)]
    expires_at: Option<Timestamp>,
    #[serde(default)]
    created_at: Option<Timestamp>,
}

/// How keys are imported.
pub(super) struct Import {
    pub(super) now: Timestamp,
    pub(super) dry_run: bool,
    /// What keys of an earlier system are found by.
    pub(super) legacy: Option<LegacyBcrypt>,
}

/// What is kept of a key.
struct Kept {
    digest: KeyDigest,
    slow: Option<SlowHash>,
}

pub(super) async fn import(
    database: &Database,
    store: &SeaOrmStore,
    rows: Vec<(usize, Row)>,
    how: &Import,
) -> Result<Counts, OperatorError> {
    let mut mistakes = Mistakes::default();
    let mut counts = Counts {
        rows: rows.len() as u64,
        ..Counts::default()
    };
    let (mut keys, mut seen) = (Vec::new(), HashSet::new());
    for (number, row) in rows {
        let kept = match kept(&row, how.legacy.as_ref()) {
            Ok(kept) => kept,
            Err(what) => {
                mistakes.add(number, what);
                continue;
            }
        };
        if !seen.insert(*kept.digest.as_bytes()) {
            mistakes.add(number, "the same digest or start is in the file twice");
            continue;
        }
        match known(database, &kept.digest).await? {
            Some(account) if account == row.account_id => counts.known += 1,
            Some(_) => mistakes.add(number, "another account has a key with this digest"),
            None => match made(database, row, kept, how.now).await? {
                Ok(key) => keys.push((number, key)),
                Err(what) => mistakes.add(number, what),
            },
        }
    }
    mistakes.finish().map_err(OperatorError::from)?;
    counts.new = keys.len() as u64;
    if how.dry_run {
        return Ok(counts);
    }
    for (row, key) in keys {
        match store.insert(&key).await {
            Ok(_) => {}
            // Somebody else imports the same.
            Err(error) if error.kind() == StoreErrorKind::Conflict => {
                counts.new -= 1;
                counts.known += 1;
            }
            Err(source) => return Err(ImportError::Row { row, source }.into()),
        }
    }
    Ok(counts)
}

fn kept(row: &Row, legacy: Option<&LegacyBcrypt>) -> Result<Kept, &'static str> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (given(&row.digest), given(&row.start), given(&row.bcrypt)) {
        (Some(text), None, None) => {
            let digest = digest(&text).ok_or("the digest must have 64 hexadecimal digits")?;
            Ok(Kept { digest, slow: None })
        }
        (None, Some(start), Some(hash)) => {
            let legacy = legacy.ok_or("keys.legacy.prefix must be set for keys with bcrypt hashes")?;
            if start.len() < legacy.start() {
                return Err("the start must have at least keys.legacy.start characters");
            }
            let slow = SlowHash::new(hash).ok().filter(LegacyBcrypt::can_check);
            let slow = slow.ok_or("that is no bcrypt hash with a cost of at most 14")?;
            let digest = legacy.found_by(&start);
            Ok(Kept {
                digest,
                slow: Some(slow),
            })
        }
        _ => Err("there must be a digest, or a start with a bcrypt hash"),
    }
}

fn digest(text: &str) -> Option<KeyDigest> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(KeyDigest::from_bytes(bytes))
}

/// Whose key with this digest there is.
async fn known(database: &Database, digest: &KeyDigest) -> Result<Option<Uuid>, OperatorError> {
    let found = api_key::Entity::find()
        .select_only()
        .column(api_key::Column::AccountId)
        .filter(api_key::Column::KeyHash.eq(KeyHash(digest.as_bytes().to_vec())))
        .into_tuple()
        .one(database.reader())
        .await?;
    Ok(found)
}

async fn made(
    database: &Database,
    row: Row,
    kept: Kept,
    now: Timestamp,
) -> Result<Result<NewKey, &'static str>, OperatorError> {
    if account::Entity::find_by_id(row.account_id)
        .one(database.reader())
        .await?
        .is_none()
    {
        return Ok(Err("there is no such account"));
    }
    let owner: Option<Uuid> = membership::Entity::find()
        .select_only()
        .column(membership::Column::UserId)
        .filter(membership::Column::AccountId.eq(row.account_id))
        .order_by_asc(membership::Column::CreatedAt)
        .limit(1)
        .into_tuple()
        .one(database.reader())
        .await?;
    let Some(owner) = owner else {
        return Ok(Err("nobody belongs to the account"));
    };
    Ok(check(row, owner, kept, now))
}

fn check(row: Row, owner: Uuid, kept: Kept, now: Timestamp) -> Result<NewKey, &'static str> {
    let env = match row.env.as_deref() {
        None | Some("" | "live") => KeyEnv::Live,
        Some("test") => KeyEnv::Test,
        Some(_) => return Err("env must be live or test"),
    };
    if row.pepper.is_some_and(|pepper| pepper != PEPPER_NUMBER) {
        return Err("the server has no pepper of that number; there is 1 only");
    }
    let name =
        names::name(&row.name).map_err(|_| "the name must have 1 to 100 characters, and no control ones")?;
    let plain = |text: &str| !text.chars().any(char::is_control);
    let fits = |text: &str, most: usize| (1..=most).contains(&text.chars().count()) && plain(text);
    if !fits(&row.prefix, 64) || !fits(&row.last4, 8) {
        return Err("prefix and last4 must be there, with at most 64 and 8 characters, and no control ones");
    }
    let scopes: Vec<String> = row
        .scopes
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    if scopes.len() > 50 || scopes.iter().any(|scope| scope.len() > 100 || !plain(scope)) {
        return Err("there may be 50 scopes of 100 bytes, without control characters");
    }
    Ok(NewKey {
        id: Uuid::now_v7().into(),
        account: row.account_id.into(),
        user: owner.into(),
        digest: kept.digest,
        pepper: PEPPER_NUMBER,
        slow_hash: kept.slow,
        name,
        prefix: row.prefix,
        last4: row.last4,
        env,
        scopes,
        ip_allow: IpAllow::default(),
        limits: KeyLimits::default(),
        quotas: KeyQuotas::default(),
        not_before: None,
        expires_at: row.expires_at,
        metadata: [("imported".to_owned(), now.to_string())].into(),
        created_at: row.created_at.unwrap_or(now),
    })
}
