//! Sums for PostgreSQL as one array a column.

use hm_metering::Units;
use sea_orm::Statement;

use crate::entity::{usage_rollup_endpoint as endpoint, usage_rollup_sum as sum, usage_rollup_unit as unit};
use crate::store::arrays::{Arrays, of};

const SUM_KEY: &str = "account_id, grain, bucket_start, key_id, operation, source, status_class";

/// Adds numbers to what is there, and answers with the rows as they are then; sketches stay as they were.
pub(super) fn add_sums(rows: &[sum::Model]) -> Statement {
    let table = "usage_rollup_sums";
    let sums =
        ["requests", "refused", "failed", "units", "response_time_us_sum"].map(|column| plus(table, column));
    let max = "response_time_us_max";
    let then = format!(
        "ON CONFLICT ({SUM_KEY}) DO UPDATE SET {}, {max} = GREATEST({table}.{max}, excluded.{max}) RETURNING *",
        sums.join(", ")
    );
    columns_of(rows).insert_into(table, &then)
}

/// Puts sketches in place of those that are there.
pub(super) fn replace_sketches(rows: &[sum::Model]) -> Statement {
    let then = format!("ON CONFLICT ({SUM_KEY}) DO UPDATE SET sketch = excluded.sketch");
    columns_of(rows).insert_into("usage_rollup_sums", &then)
}

fn columns_of(rows: &[sum::Model]) -> Arrays {
    let mut insert = Arrays::default();
    insert.column("account_id", "uuid", of(rows, |row| row.account_id));
    insert.column("grain", "smallint", of(rows, |row| row.grain));
    insert.column("bucket_start", "bigint", of(rows, |row| row.bucket_start));
    insert.column("key_id", "uuid", of(rows, |row| row.key_id));
    insert.column("operation", "text", of(rows, |row| row.operation.clone()));
    insert.column("source", "text", of(rows, |row| row.source.clone()));
    insert.column("status_class", "smallint", of(rows, |row| row.status_class));
    insert.column("requests", "bigint", of(rows, |row| row.requests));
    insert.column("refused", "bigint", of(rows, |row| row.refused));
    insert.column("failed", "bigint", of(rows, |row| row.failed));
    insert.column("units", "bigint", of(rows, |row| row.units));
    let sums = of(rows, |row| row.response_time_us_sum);
    insert.column("response_time_us_sum", "bigint", sums);
    let longest = of(rows, |row| row.response_time_us_max);
    insert.column("response_time_us_max", "bigint", longest);
    insert.column("sketch", "bytea", of(rows, |row| row.sketch.clone()));
    insert
}

/// Adds units to what is there.
pub(super) fn add_units(rows: &[unit::Model]) -> Statement {
    let table = "usage_rollup_units";
    let mut insert = Arrays::default();
    insert.column("account_id", "uuid", of(rows, |row| row.account_id));
    insert.column("grain", "smallint", of(rows, |row| row.grain));
    insert.column("bucket_start", "bigint", of(rows, |row| row.bucket_start));
    insert.column("key_id", "uuid", of(rows, |row| row.key_id));
    insert.column("operation", "text", of(rows, |row| row.operation.clone()));
    insert.column("source", "text", of(rows, |row| row.source.clone()));
    insert.column("status_class", "smallint", of(rows, |row| row.status_class));
    insert.column("meter", "text", of(rows, |row| row.meter.clone()));
    insert.column("units", "bigint", of(rows, |row| row.units));
    let then = format!(
        "ON CONFLICT ({SUM_KEY}, meter) DO UPDATE SET {}",
        plus(table, "units")
    );
    insert.insert_into(table, &then)
}

/// Adds numbers by route to what is there.
pub(super) fn add_endpoints(rows: &[endpoint::Model]) -> Statement {
    let table = "usage_rollup_endpoints";
    let mut insert = Arrays::default();
    insert.column("account_id", "uuid", of(rows, |row| row.account_id));
    insert.column("grain", "smallint", of(rows, |row| row.grain));
    insert.column("bucket_start", "bigint", of(rows, |row| row.bucket_start));
    insert.column("key_id", "uuid", of(rows, |row| row.key_id));
    insert.column("endpoint", "text", of(rows, |row| row.endpoint.clone()));
    insert.column("requests", "bigint", of(rows, |row| row.requests));
    insert.column("refused", "bigint", of(rows, |row| row.refused));
    insert.column("failed", "bigint", of(rows, |row| row.failed));
    insert.column("units", "bigint", of(rows, |row| row.units));
    let sums = ["requests", "refused", "failed", "units"].map(|column| plus(table, column));
    let then = format!(
        "ON CONFLICT (account_id, grain, bucket_start, key_id, endpoint) DO UPDATE SET {}",
        sums.join(", ")
    );
    insert.insert_into(table, &then)
}

/// The sum of what is there and what comes, at most [`Units::MAX`].
fn plus(table: &str, column: &str) -> String {
    let max = Units::MAX.get();
    format!("{column} = LEAST({table}.{column} + excluded.{column}, {max})")
}
