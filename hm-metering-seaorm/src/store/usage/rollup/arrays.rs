//! Sums for PostgreSQL as one array a column.

use hm_metering::Units;
use sea_orm::Statement;

use crate::entity::{usage_rollup_endpoint as endpoint, usage_rollup_sum as sum, usage_rollup_unit as unit};
use crate::store::arrays::{Arrays, of};

const SUM_KEY: &str = "account_id, grain, bucket_start, key_id, operation, source, status_class";

/// The named columns of rows, each with its type.
macro_rules! arrays {
    ($rows:expr, { $($name:ident: $kind:literal),+ $(,)? }) => {{
        let mut arrays = Arrays::default();
        $(arrays.column(stringify!($name), $kind, of($rows, |row| Clone::clone(&row.$name)));)+
        arrays
    }};
}

/// Adds numbers to what is there, and answers with the rows as they are then; sketches stay as they were.
pub(super) fn add_sums(rows: &[sum::Model]) -> Statement {
    let table = "usage_rollup_sums";
    let sums =
        ["requests", "refused", "failed", "units", "response_time_us_sum"].map(|column| plus(table, column));
    let max = "response_time_us_max";
    let rows = columns_of(rows);
    let then = format!(
        "ON CONFLICT ({SUM_KEY}) DO UPDATE SET {}, {max} = GREATEST({table}.{max}, excluded.{max}) RETURNING {}",
        sums.join(", "),
        rows.names()
    );
    rows.insert_into(table, &then)
}

/// Puts sketches in place of those that are there.
pub(super) fn replace_sketches(rows: &[sum::Model]) -> Statement {
    let then = format!("ON CONFLICT ({SUM_KEY}) DO UPDATE SET sketch = excluded.sketch");
    columns_of(rows).insert_into("usage_rollup_sums", &then)
}

fn columns_of(rows: &[sum::Model]) -> Arrays {
    arrays!(rows, {
        account_id: "uuid",
        grain: "smallint",
        bucket_start: "bigint",
        key_id: "uuid",
        operation: "text",
        source: "text",
        status_class: "smallint",
        requests: "bigint",
        refused: "bigint",
        failed: "bigint",
        units: "bigint",
        response_time_us_sum: "bigint",
        response_time_us_max: "bigint",
        sketch: "bytea",
    })
}

/// Adds units to what is there.
pub(super) fn add_units(rows: &[unit::Model]) -> Statement {
    let table = "usage_rollup_units";
    let then = format!(
        "ON CONFLICT ({SUM_KEY}, meter) DO UPDATE SET {}",
        plus(table, "units")
    );
    arrays!(rows, {
        account_id: "uuid",
        grain: "smallint",
        bucket_start: "bigint",
        key_id: "uuid",
        operation: "text",
        source: "text",
        status_class: "smallint",
        meter: "text",
        units: "bigint",
    })
    .insert_into(table, &then)
}

/// Adds numbers by route to what is there.
pub(super) fn add_endpoints(rows: &[endpoint::Model]) -> Statement {
    let table = "usage_rollup_endpoints";
    let sums = ["requests", "refused", "failed", "units"].map(|column| plus(table, column));
    let then = format!(
        "ON CONFLICT (account_id, grain, bucket_start, key_id, endpoint) DO UPDATE SET {}",
        sums.join(", ")
    );
    arrays!(rows, {
        account_id: "uuid",
        grain: "smallint",
        bucket_start: "bigint",
        key_id: "uuid",
        endpoint: "text",
        requests: "bigint",
        refused: "bigint",
        failed: "bigint",
        units: "bigint",
    })
    .insert_into(table, &then)
}

/// The sum of what is there and what comes, at most [`Units::MAX`].
fn plus(table: &str, column: &str) -> String {
    let max = Units::MAX.get();
    format!("{column} = LEAST({table}.{column} + excluded.{column}, {max})")
}
