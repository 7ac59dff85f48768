//! What is written differently for each database, in one place.

use hm_metering::Units;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IdenStatic,
    IntoActiveModel, Statement,
};

/// How many rows of `columns` columns fit into one statement's parameters on the strictest database, SQLite, which takes
/// 32,766. PostgreSQL and MariaDB take 65,535.
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
    let backend = transaction.get_database_backend();
    let lock = match backend {
        // Any number will do that nobody else locks: "hm-feed" in ASCII.
        DbBackend::Postgres => "SELECT pg_advisory_xact_lock(29393439336785252)",
        DbBackend::MySql => "SELECT id FROM key_changes_lock WHERE id = 1 FOR UPDATE",
        _ => return Ok(()),
    };
    transaction
        .query_one_raw(Statement::from_string(backend, lock))
        .await?;
    Ok(())
}

/// In an upsert: the sum of what is there and what comes, at most [`Units::MAX`].
pub(crate) fn add_excluded<E: EntityTrait>(backend: DbBackend, column: E::Column) -> SimpleExpr {
    let (there, comes) = upserted::<E>(backend, column);
    let (least, max) = (least(backend), Units::MAX.get());
    Expr::cust(format!("{least}({there} + {comes}, {max})"))
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
    let (there, comes) = upserted::<E>(backend, column);
    Expr::cust(format!("{}({there}, {comes})", greatest(backend)))
}

/// A column as it is in the table, and as it comes.
fn upserted<E: EntityTrait>(backend: DbBackend, column: E::Column) -> (String, String) {
    let table = E::default().table_name();
    let column = column.as_str();
    match backend {
        DbBackend::MySql => (format!("`{table}`.`{column}`"), format!("VALUES(`{column}`)")),
        _ => (
            format!(r#""{table}"."{column}""#),
            format!(r#"excluded."{column}""#),
        ),
    }
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
        _ => integer(backend, &format!("LEAST(COALESCE(SUM({expression}), 0), {max})")),
    }
}

/// A number as a signed integer of 64 bits, whatever type its parts have.
pub(crate) fn integer(backend: DbBackend, expression: &str) -> String {
    let integer = match backend {
        DbBackend::MySql => "SIGNED",
        _ => "BIGINT",
    };
    format!("CAST({expression} AS {integer})")
}

/// A table expression with the entries of a JSON object as `entry.key` and the integer `value`.
pub(crate) struct JsonEntries {
    /// To be joined after the table.
    pub(crate) from: String,
    /// The entry's value as an integer.
    pub(crate) value: String,
}

/// The entries of the JSON object in `column` of `table`. Its keys hold no quotes and no backslashes.
pub(crate) fn json_entries(backend: DbBackend, table: &str, column: &str) -> JsonEntries {
    let column = format!("{table}.{column}");
    match backend {
        DbBackend::Sqlite => JsonEntries {
            from: format!("json_each({column}) AS entry"),
            value: integer(backend, "entry.value"),
        },
        DbBackend::MySql => JsonEntries {
            from: format!(
                "JSON_TABLE(JSON_KEYS({column}), '$[*]' COLUMNS (`key` VARCHAR(255) PATH '$')) AS entry"
            ),
            value: integer(
                backend,
                &format!("JSON_EXTRACT({column}, CONCAT('$.\"', entry.key, '\"'))"),
            ),
        },
        _ => JsonEntries {
            from: format!("jsonb_each_text({column}) AS entry(key, value)"),
            value: integer(backend, "entry.value"),
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
