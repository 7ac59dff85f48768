//! Inserting many events at once.

#[cfg(feature = "postgres")]
use sea_orm::ConnectionTrait;
use sea_orm::{DatabaseTransaction, EntityTrait};

use crate::entity::usage_event::{Entity, Model};
use crate::error::Failure;
use crate::sql;

/// How many columns an event has.
const COLUMNS: usize = 25;

/// Inserts all of them. An id that is there already is a conflict.
pub(super) async fn insert(transaction: &DatabaseTransaction, rows: &[Model]) -> Result<(), Failure> {
    for chunk in rows.chunks(sql::rows_max(COLUMNS)) {
        #[cfg(feature = "postgres")]
        if transaction.get_database_backend() == sea_orm::DbBackend::Postgres {
            transaction.execute_raw(super::arrays::statement(chunk)).await?;
            continue;
        }
        Entity::insert_many(sql::to_insert(chunk))
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}
