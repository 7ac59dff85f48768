//! Transactions that change keys.

use async_trait::async_trait;
use hm_metering::keys::{KeyPatch, KeyRecord, NewKey};
use hm_metering::{AccountId, KeyId, StoreErrorKind, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QuerySelect, Set, Unchanged,
};

use super::{feed, row};
use crate::entity::{account, api_key};
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;

pub(super) struct Insert(pub(super) NewKey);

#[async_trait]
impl Work for Insert {
    type Answer = KeyRecord;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<KeyRecord, Failure> {
        insert(transaction, &self.0).await
    }
}

pub(super) struct Update {
    pub(super) account: AccountId,
    pub(super) key: KeyId,
    pub(super) patch: KeyPatch,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for Update {
    type Answer = Option<KeyRecord>;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Option<KeyRecord>, Failure> {
        let Some(mut key) = lock(transaction, self.account, self.key).await? else {
            return Ok(None);
        };
        if key.revoked_at.is_some() {
            return Err(Failure::CONFLICT);
        }
        row::apply(&self.patch, &mut key, self.now)?;
        save(transaction, key, "update", self.now).await.map(Some)
    }
}

pub(super) struct Revoke {
    pub(super) account: AccountId,
    pub(super) key: KeyId,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for Revoke {
    type Answer = Option<KeyRecord>;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Option<KeyRecord>, Failure> {
        let Some(mut key) = lock(transaction, self.account, self.key).await? else {
            return Ok(None);
        };
        if key.revoked_at.is_some() {
            return row::into_record(key).map(Some);
        }
        key.revoked_at = Some(self.now.as_micros());
        key.is_active = false;
        save(transaction, key, "revoke", self.now).await.map(Some)
    }
}

pub(super) struct Rotate {
    pub(super) account: AccountId,
    pub(super) key: KeyId,
    pub(super) replacement: NewKey,
    pub(super) old_expires_at: Timestamp,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for Rotate {
    type Answer = Option<KeyRecord>;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Option<KeyRecord>, Failure> {
        let Some(mut old) = lock(transaction, self.account, self.key).await? else {
            return Ok(None);
        };
        if self.replacement.account != self.account {
            return Err(Failure::INVALID);
        }
        if old.revoked_at.is_some() {
            return Err(Failure::CONFLICT);
        }
        let replacement = insert(transaction, &self.replacement).await?;
        let end = self.old_expires_at.as_micros();
        old.expires_at = Some(old.expires_at.map_or(end, |has| has.min(end)));
        save(transaction, old, "rotate", self.now).await?;
        Ok(Some(replacement))
    }
}

async fn insert(transaction: &DatabaseTransaction, key: &NewKey) -> Result<KeyRecord, Failure> {
    let account = account::Entity::find_by_id(key.account.as_uuid())
        .one(transaction)
        .await?
        .ok_or(Failure::Refused(StoreErrorKind::NotFound))?;
    let row = row::from_new(key, account.tier_at(key.created_at).to_owned())?;
    let inserted = row.into_active_model().reset_all().insert(transaction).await?;
    row::into_record(inserted)
}

/// The account's key, held until the transaction ends, with the feed's lock taken first so that any two changes take
/// their locks in the same order.
async fn lock(
    transaction: &DatabaseTransaction,
    account: AccountId,
    key: KeyId,
) -> Result<Option<api_key::Model>, Failure> {
    sql::lock_feed(transaction).await?;
    let found = api_key::Entity::find_by_id(key.as_uuid())
        .filter(api_key::Column::AccountId.eq(account.as_uuid()))
        .lock_exclusive()
        .one(transaction)
        .await?;
    Ok(found)
}

async fn save(
    transaction: &DatabaseTransaction,
    mut key: api_key::Model,
    kind: &str,
    now: Timestamp,
) -> Result<KeyRecord, Failure> {
    key.version += 1;
    key.updated_at = now.as_micros();
    feed::key_changed(transaction, &key, kind, now).await?;
    // Everything that a change may touch, and nothing that counts uses.
    let changed = api_key::ActiveModel {
        id: Unchanged(key.id),
        name: Set(key.name),
        scopes: Set(key.scopes),
        ip_allow: Set(key.ip_allow),
        rate_limit: Set(key.rate_limit),
        quotas: Set(key.quotas),
        quotas_since: Set(key.quotas_since),
        is_active: Set(key.is_active),
        expires_at: Set(key.expires_at),
        metadata: Set(key.metadata),
        revoked_at: Set(key.revoked_at),
        version: Set(key.version),
        updated_at: Set(key.updated_at),
        ..Default::default()
    };
    let saved = changed.update(transaction).await?;
    row::into_record(saved)
}
