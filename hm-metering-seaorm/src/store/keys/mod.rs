//! [`KeyStore`] on SQL.

mod change;
pub(super) mod feed;
#[cfg(feature = "postgres")]
pub(super) mod listener;
mod rehash;
pub(in crate::store) mod row;
pub(super) mod uses;

use async_trait::async_trait;
use hm_metering::key::{KeyDigest, KeyHash};
use hm_metering::keys::{ChangeCursor, ChangePage, KeyPatch, KeyRecord, KeyUse, NewKey, StoredKey};
use hm_metering::page::{Page, PageRequest};
use hm_metering::quota::StoreIdentity;
use hm_metering::{AccountId, KeyId, KeyStore, PlanId, StoreResult, Timestamp};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef};

use self::change::{Insert, Revoke, Rotate, Update};
use self::rehash::Rehash;
use self::uses::KeyUses;
use super::SeaOrmStore;
use super::cursor::Cursor;
use crate::entity::{account, api_key};
use crate::error::Failure;

#[async_trait]
impl KeyStore for SeaOrmStore {
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord> {
        self.transact("insert a key", Insert(key.clone())).await
    }

    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>> {
        self.read(
            "find a key by digest",
            digests.to_vec(),
            |db, digests| async move {
                let mut found = api_key::Entity::find()
                    .join(JoinType::InnerJoin, account_of_key())
                    .select_also(account::Entity)
                    .filter(api_key::Column::KeyHash.is_in(digests.iter().map(row::hash)))
                    .all(&db)
                    .await?
                    .into_iter()
                    .map(|(key, account)| Ok((row::digest(&key)?, key, account.ok_or(Failure::CORRUPT)?)))
                    .collect::<Result<Vec<_>, Failure>>()?;
                // At most one in practice; the digest named first wins.
                found.sort_by_key(|(digest, ..)| digests.iter().position(|named| named == digest));
                found.into_iter().next().map(stored).transpose()
            },
        )
        .await
    }

    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>> {
        self.read("get a key", (account, key), |db, (account, key)| async move {
            api_key::Entity::find_by_id(key.as_uuid())
                .filter(api_key::Column::AccountId.eq(account.as_uuid()))
                .one(&db)
                .await?
                .map(row::into_record)
                .transpose()
        })
        .await
    }

    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        const LIST: &str = "keys";
        self.read("list keys", page.clone(), move |db, page| async move {
            let limit = page.clamped_limit();
            let mut query = api_key::Entity::find()
                .filter(api_key::Column::AccountId.eq(account.as_uuid()))
                .order_by_desc(api_key::Column::CreatedAt)
                .order_by_desc(api_key::Column::Id)
                .limit(limit as u64 + 1);
            if let Some(cursor) = &page.cursor {
                let cursor = Cursor::parse(LIST, cursor)?;
                query = query.filter(cursor.after(api_key::Column::CreatedAt, api_key::Column::Id));
            }
            let mut rows = query.all(&db).await?;
            let more = rows.len() > limit;
            rows.truncate(limit);
            let last = rows.last().filter(|_| more);
            let next = last.map(|row| Cursor::new(row.created_at, row.id).text(LIST));
            let items = rows.into_iter().map(row::into_record).collect::<Result<_, _>>()?;
            Ok(Page { items, next })
        })
        .await
    }

    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        let patch = patch.clone();
        self.transact(
            "update a key",
            Update {
                account,
                key,
                patch,
                now,
            },
        )
        .await
    }

    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        self.transact("revoke a key", Revoke { account, key, now }).await
    }

    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        let replacement = replacement.clone();
        let work = Rotate {
            account,
            key,
            replacement,
            old_expires_at,
            now,
        };
        self.transact("rotate a key", work).await
    }

    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        let work = Rehash {
            key,
            from: *from,
            to: to.clone(),
        };
        self.transact("rehash a key", work).await
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        self.transact(
            "count uses of keys",
            KeyUses::new(uses.iter().map(|used| (None, *used))),
        )
        .await
    }

    fn uses_counted_by(&self) -> Option<StoreIdentity> {
        Some(self.0.identity)
    }

    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        self.read("read the change feed", cursor, move |db, cursor| async move {
            feed::since(&db, cursor, limit).await
        })
        .await
    }

    #[cfg(feature = "postgres")]
    async fn await_change(&self, cursor: ChangeCursor) {
        self.0
            .listener
            .beyond(&self.0.reader, cursor.0.cast_signed())
            .await;
    }
}

fn account_of_key() -> RelationDef {
    api_key::Entity::belongs_to(account::Entity)
        .from(api_key::Column::AccountId)
        .to(account::Column::Id)
        .into()
}

fn next_plan(account: &account::Model) -> Result<Option<(PlanId, Timestamp)>, Failure> {
    match (&account.next_tier, account.next_tier_at) {
        (Some(next), Some(at)) => {
            let plan = PlanId::parse(next).map_err(Failure::unreadable)?;
            Ok(Some((plan, Timestamp::from_micros(at))))
        }
        (None, None) => Ok(None),
        _ => Err(Failure::CORRUPT),
    }
}

fn stored((digest, key, account): (KeyDigest, api_key::Model, account::Model)) -> Result<StoredKey, Failure> {
    Ok(StoredKey {
        slow_hash: row::read_slow_hash(&key)?,
        record: row::into_record(key)?,
        digest,
        plan: PlanId::parse(&account.tier).map_err(Failure::unreadable)?,
        next_plan: next_plan(&account)?,
        anchor: Timestamp::from_micros(account.created_at),
        account_open: account.closed_at.is_none(),
    })
}
