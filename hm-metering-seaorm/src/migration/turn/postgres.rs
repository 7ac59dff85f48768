//! On PostgreSQL: a transaction that holds a lock and takes the steps, so that they are all taken or none.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, Statement,
    TransactionTrait,
};

use super::Waiting;
use crate::migration::STEPS_LOCK;

const TAKE: &str = "SELECT pg_try_advisory_xact_lock($1) AS is_ours";
const HOLDER: &str = "SELECT MIN(pid)::BIGINT AS session FROM pg_locks \
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND (classid::BIGINT << 32) | objid::BIGINT = $1";

/// A step on a great table may take longer than statements usually may. But everybody else waits behind a step that waits for
/// a table, so that is broken off.
const LIMITS: [&str; 2] = ["SET LOCAL statement_timeout = 0", "SET LOCAL lock_timeout = '3s'"];

/// The transaction that has the right until it ends.
pub(in super::super) async fn on_postgres(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    let mut waiting = Waiting::begin();
    loop {
        // What was done by those who had their turn before must be seen.
        let turn = db
            .begin_with_config(Some(IsolationLevel::ReadCommitted), None)
            .await?;
        let is_ours: Option<bool> = value(&turn, TAKE, "is_ours").await?;
        if is_ours == Some(true) {
            for limit in LIMITS {
                turn.execute_unprepared(limit).await?;
            }
            return Ok(turn);
        }
        let holder = value(&turn, HOLDER, "session").await?;
        turn.rollback().await?;
        waiting.pause(holder).await?;
    }
}

async fn value<T: sea_orm::TryGetable>(
    db: &DatabaseTransaction,
    sql: &str,
    column: &str,
) -> Result<Option<T>, DbErr> {
    let row = db
        .query_one_raw(Statement::from_sql_and_values(
            DbBackend::Postgres,
            sql,
            [STEPS_LOCK.into()],
        ))
        .await?;
    let value: Option<Option<T>> = row.map(|row| row.try_get("", column)).transpose()?;
    Ok(value.flatten())
}
