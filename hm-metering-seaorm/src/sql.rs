//! What is written differently for each database, in one place.

use hm_metering::Units;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic,
    IntoActiveModel, Statement,
};

/// How many rows of `columns` columns fit into one statement's parameters on the strictest database, SQLite.
pub(crate) const fn rows_max(columns: usize) -> usize {
    32_000 / columns
}

/// Rows with every column set, ready to insert.
pub(crate) fn to_insert<M, A>(rows: &[M]) -> impl Iterator<Item = A>
where
    M: Clone + IntoActiveModel<A>,
    A: ActiveModelTrait,
{
    rows.iter()
        .cloned()
        .map(|row| row.into_active_model().reset_all())
}

/// Makes this transaction the only one that writes to the change feed until it ends.
///
/// Numbers are then given out in the order of commits, so a reader that has seen one has seen all below it. SQLite
/// has one writer anyway.
pub(crate) async fn lock_feed(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        // Any number will do that nobody else locks: "hm-feed" in ASCII.
        let statement = Statement::from_string(
            DbBackend::Postgres,
            "SELECT pg_advisory_xact_lock(29393439336785252)",
        );
        transaction.execute_raw(statement).await?;
    }
    Ok(())
}

/// In an upsert: the sum of what is there and what comes, at most [`Units::MAX`].
pub(crate) fn add_excluded<E: EntityTrait>(backend: DbBackend, column: E::Column) -> SimpleExpr {
    let table = E::default().table_name();
    let column = column.as_str();
    Expr::cust(format!(
        r#"{least}("{table}"."{column}" + excluded."{column}", {max})"#,
        least = least(backend),
        max = Units::MAX.get(),
    ))
}

/// In an upsert: what comes.
pub(crate) fn excluded(backend: DbBackend, column: impl IdenStatic) -> SimpleExpr {
    let column = column.as_str();
    Expr::cust(match backend {
        DbBackend::MySql => format!("VALUES(`{column}`)"),
        _ => format!(r#"excluded."{column}""#),
    })
}

/// In an upsert: the greater of what is there and what comes.
pub(crate) fn max_excluded<E: EntityTrait>(backend: DbBackend, column: E::Column) -> SimpleExpr {
    let table = E::default().table_name();
    let column = column.as_str();
    Expr::cust(format!(
        r#"{greatest}("{table}"."{column}", excluded."{column}")"#,
        greatest = greatest(backend),
    ))
}

/// The function for the smallest of several values of one row.
pub(crate) const fn least(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "MIN",
        _ => "LEAST",
    }
}

/// The function for the greatest of several values of one row.
pub(crate) const fn greatest(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Sqlite => "MAX",
        _ => "GREATEST",
    }
}

/// The sum of an integer expression over rows, at most [`Units::MAX`], zero without rows.
///
/// SQLite's `SUM` fails on overflow; its `TOTAL` is a float, exact well beyond the cap.
pub(crate) fn capped_sum(backend: DbBackend, expression: &str) -> String {
    let max = Units::MAX.get();
    match backend {
        DbBackend::Sqlite => format!("CAST(MIN(TOTAL({expression}), {max}.0) AS INTEGER)"),
        _ => format!("CAST(LEAST(COALESCE(SUM({expression}), 0), {max}) AS BIGINT)"),
    }
}

/// A table expression with the entries of the JSON object `column` as `entry.key` and the integer `value`.
pub(crate) struct JsonEntries {
    /// To be joined after the table.
    pub(crate) from: String,
    /// The entry's value as an integer.
    pub(crate) value: &'static str,
}

pub(crate) fn json_entries(backend: DbBackend, column: &str) -> JsonEntries {
    match backend {
        DbBackend::Sqlite => JsonEntries {
            from: format!("json_each({column}) AS entry"),
            value: "CAST(entry.value AS INTEGER)",
        },
        _ => JsonEntries {
            from: format!("jsonb_each_text({column}) AS entry(key, value)"),
            value: "CAST(entry.value AS BIGINT)",
        },
    }
}

/// `?` or `$n`.
pub(crate) fn parameter(backend: DbBackend, number: usize) -> String {
    match backend {
        DbBackend::Postgres => format!("${number}"),
        _ => "?".to_owned(),
    }
}
