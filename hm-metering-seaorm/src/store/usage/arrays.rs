//! Events for PostgreSQL as one array a column.
//!
//! What a batch leaves at its default in every row is not sent at all, which most columns of details are in most batches.
//! That gives a few texts, not one.

use sea_orm::Statement;

use crate::entity::usage_event::Model;
use crate::store::arrays::{Arrays, of};

/// Inserts all of the rows.
pub(super) fn statement(rows: &[Model]) -> Statement {
    let mut insert = Arrays::default();
    insert.column("id", "uuid", of(rows, |row| row.id));
    insert.column("account_id", "uuid", of(rows, |row| row.account_id));
    insert.uuid("user_id", of(rows, |row| row.user_id));
    insert.uuid("key_id", of(rows, |row| row.key_id));
    insert.column("operation", "text", of(rows, |row| row.operation.clone()));
    insert.column("endpoint", "text", of(rows, |row| row.endpoint.clone()));
    insert.column("method", "text", of(rows, |row| row.method.clone()));
    insert.text("source", of(rows, |row| row.source.clone()));
    insert.column("status", "integer", of(rows, |row| row.status));
    insert.number("grpc_status", "smallint", of(rows, |row| row.grpc_status), -1);
    insert.column("outcome", "text", of(rows, |row| row.outcome.clone()));
    insert.text("refusal", of(rows, |row| row.refusal.clone()));
    insert.text("would_refuse", of(rows, |row| row.would_refuse.clone()));
    insert.column("units", "bigint", of(rows, |row| row.units));
    insert.json("meter_units", of(rows, |row| row.meter_units.as_ref()));
    if rows.iter().any(|row| row.over) {
        insert.column("over", "boolean", of(rows, |row| row.over));
    }
    insert.column("response_time_ms", "bigint", of(rows, |row| row.response_time_ms));
    insert.column("response_time_us", "bigint", of(rows, |row| row.response_time_us));
    insert.number("first_byte_us", "bigint", of(rows, |row| row.first_byte_us), -1);
    if rows.iter().any(|row| row.bytes_in != 0) {
        insert.column("bytes_in", "bigint", of(rows, |row| row.bytes_in));
    }
    if rows.iter().any(|row| row.bytes_out != 0) {
        insert.column("bytes_out", "bigint", of(rows, |row| row.bytes_out));
    }
    insert.column("request_id", "text", of(rows, |row| row.request_id.clone()));
    insert.uuid("replica", of(rows, |row| row.replica));
    insert.json("tags", of(rows, |row| row.tags.as_ref()));
    insert.column("created_at", "bigint", of(rows, |row| row.created_at));
    insert.insert_into("usage_events", "")
}
