//! The change feed: what replicas read to learn what is out of date.

use hm_metering::keys::{ChangeCursor, ChangePage, ChangeSubject};
use hm_metering::{AccountId, KeyId, Timestamp};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, NotSet,
    QueryFilter, QueryOrder, QuerySelect, Set,
};

use crate::entity::api_key;
use crate::entity::key_change::{ActiveModel, Column, Entity, Model};
use crate::error::Failure;

/// The most changes given at once.
const PAGE_MAX: usize = 1_000;

/// Notes that a key changed. The caller holds the feed's lock since before it read the key.
pub(in crate::store) async fn key_changed(
    transaction: &DatabaseTransaction,
    key: &api_key::Model,
    kind: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    add(transaction, Some(key.id), key.account_id, key.version, kind, now).await
}

/// Notes that an account changed. The caller holds the feed's lock since before it read the account.
pub(in crate::store) async fn account_changed(
    transaction: &DatabaseTransaction,
    account: AccountId,
    version: i64,
    kind: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    add(transaction, None, account.as_uuid(), version, kind, now).await
}

async fn add(
    transaction: &DatabaseTransaction,
    key_id: Option<sea_orm::prelude::Uuid>,
    account_id: sea_orm::prelude::Uuid,
    version: i64,
    kind: &str,
    now: Timestamp,
) -> Result<(), DbErr> {
    let change = ActiveModel {
        seq: NotSet,
        key_id: Set(key_id),
        account_id: Set(account_id),
        version: Set(version),
        kind: Set(kind.to_owned()),
        created_at: Set(now.as_micros()),
    };
    let added = change.insert(transaction).await?;
    notify(transaction, added.seq).await
}

#[cfg(feature = "postgres")]
use super::listener::notify;

#[cfg(not(feature = "postgres"))]
async fn notify(_: &DatabaseTransaction, _: i64) -> Result<(), DbErr> {
    Ok(())
}

pub(super) async fn since(
    db: &DatabaseConnection,
    cursor: Option<ChangeCursor>,
    limit: usize,
) -> Result<ChangePage, Failure> {
    let Some(cursor) = cursor else {
        return Ok(ChangePage {
            changes: Vec::new(),
            cursor: ChangeCursor(last(db).await?.cast_unsigned()),
            more: false,
        });
    };
    let after = i64::try_from(cursor.0).map_err(|_| Failure::INVALID)?;
    let limit = limit.clamp(1, PAGE_MAX);
    let mut rows = Entity::find()
        .filter(Column::Seq.gt(after))
        .order_by_asc(Column::Seq)
        .limit(limit as u64 + 1)
        .all(db)
        .await?;
    // A cursor from the future is one from before a backup was restored: what it has seen is no longer there.
    if rows.is_empty() && after > last(db).await? {
        return Err(Failure::INVALID);
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows
        .last()
        .map_or(cursor, |row| ChangeCursor(row.seq.cast_unsigned()));
    let changes = rows.iter().map(subject).collect();
    Ok(ChangePage {
        changes,
        cursor,
        more,
    })
}

/// The number of the last change; zero before the first.
pub(super) async fn last(db: &DatabaseConnection) -> Result<i64, DbErr> {
    let last = Entity::find()
        .select_only()
        .column(Column::Seq)
        .order_by_desc(Column::Seq)
        .limit(1)
        .into_tuple::<i64>()
        .one(db)
        .await?;
    Ok(last.unwrap_or(0))
}

fn subject(row: &Model) -> ChangeSubject {
    match row.key_id {
        Some(key) => ChangeSubject::Key {
            key: KeyId::from_uuid(key),
            version: row.version.cast_unsigned(),
        },
        None => ChangeSubject::Account(AccountId::from_uuid(row.account_id)),
    }
}
