//! Questions to the ledger.
//!
//! Sums come from rollups: of days as far as whole days lie in the range, then of hours and minutes at its ends, and of
//! events only in the two minutes that it begins and ends within. So what a question costs grows neither with the events
//! outside its range nor with those inside. An index serves each part.

mod facts;
mod recent;
mod tile;
mod times;
mod top;
mod totals;

#[cfg(all(test, feature = "sqlite"))]
mod plans;

use hm_metering::Units;
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, QueryResult, Statement,
    TransactionOptions, TransactionTrait, Value,
};

pub(in crate::store) use self::facts::unreached;
pub(super) use self::recent::recent;
pub(in crate::store) use self::tile::{Piece, Source, tile};
pub(super) use self::times::response_times;
pub(super) use self::top::top;
pub(in crate::store) use self::totals::{charged, points};
pub(super) use self::totals::{series, totals};
use crate::error::Failure;
use crate::sql;

/// A statement as it is put together, with its parameters in their order.
pub(in crate::store) struct Text {
    backend: DbBackend,
    text: String,
    values: Vec<Value>,
}

impl Text {
    pub(in crate::store) fn new(backend: DbBackend, text: &str) -> Self {
        Self {
            backend,
            text: text.to_owned(),
            values: Vec::new(),
        }
    }

    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// A parameter.
    pub(in crate::store) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let parameter = sql::parameter(self.backend, self.values.len());
        self.push(&parameter)
    }

    pub(in crate::store) fn statement(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.text, self.values)
    }
}

/// One view of the ledger for several statements, whatever is recorded in between.
pub(in crate::store) async fn snapshot(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // A transaction of SQLite sees one state from its first question on.
    let isolation_level = match db.get_database_backend() {
        DbBackend::Sqlite => None,
        _ => Some(IsolationLevel::RepeatableRead),
    };
    db.begin_with_options(TransactionOptions {
        isolation_level,
        ..TransactionOptions::default()
    })
    .await
}

pub(in crate::store) fn number(row: &QueryResult, column: &str) -> Result<i64, Failure> {
    Ok(row.try_get("", column)?)
}

pub(in crate::store) fn count(row: &QueryResult, column: &str) -> Result<u64, Failure> {
    u64::try_from(number(row, column)?).map_err(Failure::unreadable)
}

fn units(row: &QueryResult, column: &str) -> Result<Units, Failure> {
    Ok(Units::from_i64(number(row, column)?))
}
