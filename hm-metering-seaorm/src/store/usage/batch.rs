//! Rows of `usage_batches`: what makes a repeated flush count once.

use hm_metering::Timestamp;
use hm_metering::usage::{BatchId, Recorded};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IntoActiveModel,
    QuerySelect, Set,
};

use crate::entity::usage_batch::{Column, Entity, Model};
use crate::error::Failure;

/// What is to be done with a batch of events.
pub(super) enum Start {
    /// Its events are new.
    New {
        /// Whether its settlements are new as well.
        settle: bool,
    },
    /// It is there already, with the same events.
    Repeated,
}

/// Notes that the settlements of a batch are being applied; false when they were before.
pub(in crate::store) async fn begin_settlement(
    transaction: &DatabaseTransaction,
    id: BatchId,
    now: Timestamp,
) -> Result<bool, Failure> {
    Ok(insert(transaction, row(id, 0, Vec::new(), now)).await?)
}

/// Notes that a batch is being recorded.
pub(super) async fn begin_record(
    transaction: &DatabaseTransaction,
    id: BatchId,
    created_at: Timestamp,
    events: usize,
    digest: &[u8],
) -> Result<Start, Failure> {
    let events = i32::try_from(events).map_err(|_| Failure::INVALID)?;
    let new = row(id, events, digest.to_vec(), created_at);
    if insert(transaction, new.clone()).await? {
        return Ok(Start::New { settle: true });
    }
    let found = Entity::find_by_id((new.replica, new.epoch, new.number))
        .lock_exclusive()
        .one(transaction)
        .await?
        .ok_or(Failure::CORRUPT)?;
    if found.digest == digest {
        return Ok(Start::Repeated);
    }
    if !found.digest.is_empty() {
        return Err(Failure::CONFLICT);
    }
    let mut noted = found.into_active_model();
    noted.events = Set(events);
    noted.digest = Set(new.digest);
    noted.update(transaction).await?;
    Ok(Start::New { settle: false })
}

/// What recording a batch would answer: whether it is there already, or a conflict where other events are.
pub(super) async fn look(db: &impl ConnectionTrait, id: BatchId, digest: &[u8]) -> Result<Recorded, Failure> {
    let key = (
        id.replica.as_uuid(),
        id.epoch.cast_signed(),
        id.number.cast_signed(),
    );
    match Entity::find_by_id(key).one(db).await? {
        Some(found) if found.digest == digest => Ok(Recorded::Repeated),
        Some(found) if !found.digest.is_empty() => Err(Failure::CONFLICT),
        _ => Ok(Recorded::New),
    }
}

fn row(id: BatchId, events: i32, digest: Vec<u8>, created_at: Timestamp) -> Model {
    Model {
        replica: id.replica.as_uuid(),
        epoch: id.epoch.cast_signed(),
        number: id.number.cast_signed(),
        events,
        digest,
        created_at: created_at.as_micros(),
    }
}

/// Waits for another transaction that is inserting the same row; false when the row is there.
async fn insert(transaction: &DatabaseTransaction, row: Model) -> Result<bool, DbErr> {
    let insert = Entity::insert(row.into_active_model().reset_all());
    if transaction.get_database_backend() == DbBackend::MySql {
        // "Ignore" would also ignore what does not fit, and an upsert that changes nothing says that it wrote a row. An
        // error ends the statement, not the transaction.
        return match insert.exec_without_returning(transaction).await {
            Ok(_) => Ok(true),
            Err(error) if Failure::is_conflict(&error) => Ok(false),
            Err(error) => Err(error),
        };
    }
    let inserted = insert
        .on_conflict(
            OnConflict::columns([Column::Replica, Column::Epoch, Column::Number])
                .do_nothing()
                .to_owned(),
        )
        .exec_without_returning(transaction)
        .await?;
    Ok(inserted == 1)
}
