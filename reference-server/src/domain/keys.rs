//! API keys: issue, list, change, rotate, revoke.
//!
//! Each change is in the audit log before it is made: a change that nobody wrote down can't happen. One that then
//! fails is in the log all the same, under a name that says what was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use hm_metering::key::{LegacyBcrypt, PepperError};
use hm_metering::keys::{IpAllow, KeyIssuer, KeyLimits, KeyPatch, KeyQuotas, KeyRecord, NewKey};
use hm_metering::page::{Page, PageRequest};
use hm_metering::{
    AccountId, IssuedKey, KeyEnv, KeyId, KeyStore, Meter, Pepper, Peppers, StoreErrorKind, StoredKeyVerifier,
    Timestamp, UserId,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::api_key;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::{Value, json};

use super::audit::{self, Change, Origin};
use super::{DomainError, Member};
use crate::config::KeysConfig;
use crate::database::Database;
use crate::secret::Secret;

/// The number that is kept beside each digest; another pepper would get the next one.
pub(crate) const PEPPER_NUMBER: u16 = 1;

/// The pepper that a secret makes.
///
/// # Errors
///
/// The secret is too short.
pub fn pepper(secret: &Secret) -> Result<Pepper, PepperError> {
    Pepper::new(PEPPER_NUMBER, secret.expose().as_bytes())
}

/// The verifier of all keys in `store`: ours, and those of an earlier system where the settings say that there are some.
#[must_use]
pub fn verifier(store: &SeaOrmStore, peppers: Peppers, config: &KeysConfig) -> StoredKeyVerifier {
    let verifier = match &config.legacy {
        None => StoredKeyVerifier::new(store.clone(), peppers),
        // bcrypt reads no more than 72 bytes, so no such key is longer.
        Some(legacy) => StoredKeyVerifier::new(store.clone(), LegacyBcrypt::new(peppers, legacy.start))
            .with_older_form(&legacy.prefix, legacy.start..=72),
    };
    verifier.with_format(config.format.clone())
}

/// Keys of all accounts. Every method takes the member who acts, and reaches the keys of that account only.
#[derive(Debug)]
pub struct Keys {
    store: SeaOrmStore,
    database: Database,
    meter: Meter,
    issuer: KeyIssuer,
    most: u64,
}

/// What a new key should be like.
#[derive(Clone, Debug)]
pub struct KeyWish {
    /// What its owner calls it.
    pub name: String,
    /// Live or test.
    pub env: KeyEnv,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The networks it may be used from.
    pub ip_allow: IpAllow,
    /// The rates of its own.
    pub limits: KeyLimits,
    /// The quotas of its own.
    pub quotas: KeyQuotas,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// Free facts of its owner.
    pub metadata: BTreeMap<String, String>,
}

impl Keys {
    /// Keys that `issuer` makes, in `store`, cached by `meter`; an account may have `most` that are not revoked.
    #[must_use]
    pub fn new(store: SeaOrmStore, database: Database, meter: Meter, issuer: KeyIssuer, most: u64) -> Self {
        Self {
            store,
            database,
            meter,
            issuer,
            most,
        }
    }

    /// Makes a key. The text is in the answer and nowhere else.
    ///
    /// # Errors
    ///
    /// [`DomainError::TooMany`].
    pub async fn issue(
        &self,
        member: &Member,
        wish: KeyWish,
        origin: &Origin,
    ) -> Result<(IssuedKey, KeyRecord), DomainError> {
        let unrevoked = api_key::Entity::find()
            .filter(api_key::Column::AccountId.eq(member.account.id))
            .filter(api_key::Column::RevokedAt.is_null())
            .count(self.database.reader())
            .await?;
        if unrevoked >= self.most {
            return Err(DomainError::TooMany);
        }
        let (issued, new) = self.make(member, wish, origin.at)?;
        self.write_down("key.create", new.id, member, None, Some(summary(&new)), origin)
            .await?;
        let record = self.store.insert(&new).await?;
        Ok((issued, record))
    }

    /// The account's keys, newest first.
    ///
    /// # Errors
    ///
    /// The store fails, or the cursor is not one of ours.
    pub async fn list(&self, member: &Member, page: &PageRequest) -> Result<Page<KeyRecord>, DomainError> {
        self.store
            .list(account_of(member), page)
            .await
            .map_err(|error| match error.kind() {
                StoreErrorKind::Invalid => DomainError::InvalidCursor,
                _ => error.into(),
            })
    }

    /// One of the account's keys.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotFound`], also for the key of another account.
    pub async fn get(&self, member: &Member, key: KeyId) -> Result<KeyRecord, DomainError> {
        self.store
            .get(account_of(member), key)
            .await?
            .ok_or(DomainError::NotFound)
    }

    /// Changes what the patch names. The change holds from the next request on.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotFound`]; [`DomainError::KeyRevoked`].
    pub async fn change(
        &self,
        member: &Member,
        key: KeyId,
        patch: KeyPatch,
        origin: &Origin,
    ) -> Result<KeyRecord, DomainError> {
        let before = self.unrevoked(member, key).await?;
        let (old, new) = difference(&before, &patch);
        self.write_down("key.update", key, member, Some(old), Some(new), origin)
            .await?;
        let changed = self
            .store
            .update(account_of(member), key, &patch, origin.at)
            .await;
        self.meter.forget_key(key);
        changed.map_err(revoked_meanwhile)?.ok_or(DomainError::NotFound)
    }

    /// Revokes a key for good. It is refused from the next request on. Doing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotFound`], also for the key of another account.
    pub async fn revoke(&self, member: &Member, key: KeyId, origin: &Origin) -> Result<(), DomainError> {
        let before = self.get(member, key).await?;
        if before.revoked_at.is_some() {
            return Ok(());
        }
        let state = json!({ "name": before.name, "prefix": before.prefix, "last4": before.last4 });
        self.write_down("key.revoke", key, member, Some(state), None, origin)
            .await?;
        let revoked = self.store.revoke(account_of(member), key, origin.at).await;
        self.meter.forget_key(key);
        revoked?.ok_or(DomainError::NotFound)?;
        Ok(())
    }

    /// Makes a new key with the properties of an old one, which works until the overlap ends.
    ///
    /// # Errors
    ///
    /// [`DomainError::NotFound`]; [`DomainError::KeyRevoked`].
    pub async fn rotate(
        &self,
        member: &Member,
        key: KeyId,
        overlap: Duration,
        origin: &Origin,
    ) -> Result<(IssuedKey, KeyRecord), DomainError> {
        let old = self.unrevoked(member, key).await?;
        let wish = KeyWish {
            name: old.name,
            env: old.env,
            scopes: old.scopes,
            ip_allow: old.ip_allow,
            limits: old.limits,
            quotas: old.quotas,
            expires_at: old.expires_at.filter(|end| *end > origin.at),
            metadata: old.metadata,
        };
        let (issued, new) = self.make(member, wish, origin.at)?;
        let old_expires_at = origin.at.plus(overlap);
        let after = json!({ "replacement": new.id, "expiresAt": old_expires_at });
        self.write_down("key.rotate", key, member, None, Some(after), origin)
            .await?;
        let rotated = self
            .store
            .rotate(account_of(member), key, &new, old_expires_at, origin.at)
            .await;
        self.meter.forget_key(key);
        let record = rotated.map_err(revoked_meanwhile)?.ok_or(DomainError::NotFound)?;
        Ok((issued, record))
    }

    fn make(
        &self,
        member: &Member,
        wish: KeyWish,
        now: Timestamp,
    ) -> Result<(IssuedKey, NewKey), DomainError> {
        let user = UserId::from_uuid(member.user.id);
        let (issued, mut new) = self
            .issuer
            .issue(account_of(member), user, &wish.name, wish.env, now)?;
        new.scopes = wish.scopes;
        new.ip_allow = wish.ip_allow;
        new.limits = wish.limits;
        new.quotas = wish.quotas;
        new.expires_at = wish.expires_at;
        new.metadata = wish.metadata;
        Ok((issued, new))
    }

    async fn unrevoked(&self, member: &Member, key: KeyId) -> Result<KeyRecord, DomainError> {
        let record = self.get(member, key).await?;
        if record.revoked_at.is_some() {
            Err(DomainError::KeyRevoked)
        } else {
            Ok(record)
        }
    }

    async fn write_down(
        &self,
        action: &'static str,
        key: KeyId,
        member: &Member,
        before: Option<Value>,
        after: Option<Value>,
        origin: &Origin,
    ) -> Result<(), DomainError> {
        let change = Change {
            before,
            after,
            ..Change::new(action, "key", key.as_uuid())
                .by(member.user.id)
                .of(member.account.id)
        };
        Ok(audit::record(self.database.writer(), change, origin).await?)
    }
}

fn account_of(member: &Member) -> AccountId {
    AccountId::from_uuid(member.account.id)
}

fn revoked_meanwhile(error: hm_metering::StoreError) -> DomainError {
    match error.kind() {
        StoreErrorKind::Conflict => DomainError::KeyRevoked,
        _ => error.into(),
    }
}

fn summary(key: &NewKey) -> Value {
    json!({
        "name": key.name,
        "prefix": key.prefix,
        "last4": key.last4,
        "env": key.env,
        "scopes": key.scopes,
        "ipAllow": key.ip_allow,
        "limits": key.limits,
        "quotas": key.quotas,
        "expiresAt": key.expires_at,
    })
}

/// What a patch changes, before and after.
fn difference(before: &KeyRecord, patch: &KeyPatch) -> (Value, Value) {
    let mut old = serde_json::Map::new();
    let mut new = serde_json::Map::new();
    let mut note = |field: &str, was: Value, becomes: Option<Value>| {
        if let Some(becomes) = becomes {
            old.insert(field.to_owned(), was);
            new.insert(field.to_owned(), becomes);
        }
    };
    note(
        "name",
        json!(before.name),
        patch.name.as_ref().map(|name| json!(name)),
    );
    note(
        "scopes",
        json!(before.scopes),
        patch.scopes.as_ref().map(|scopes| json!(scopes)),
    );
    note(
        "ipAllow",
        json!(before.ip_allow),
        patch.ip_allow.as_ref().map(|networks| json!(networks)),
    );
    note(
        "limits",
        json!(before.limits),
        patch.limits.as_ref().map(|limits| json!(limits)),
    );
    note(
        "quotas",
        json!(before.quotas),
        patch.quotas.as_ref().map(|quotas| json!(quotas)),
    );
    note(
        "isActive",
        json!(before.is_active),
        patch.is_active.map(|active| json!(active)),
    );
    note(
        "expiresAt",
        json!(before.expires_at),
        patch.expires_at.map(|end| json!(end)),
    );
    note(
        "metadata",
        json!(before.metadata),
        patch.metadata.as_ref().map(|metadata| json!(metadata)),
    );
    (Value::Object(old), Value::Object(new))
}
