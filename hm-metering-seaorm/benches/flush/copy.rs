//! PostgreSQL's COPY in its binary form.

use hm_metering::usage::Event;
use hm_metering_seaorm::sea_orm::sqlx::PgPool;
use hm_metering_seaorm::sea_orm::sqlx::postgres::PgPoolCopyExt;

const STATEMENT: &str = "COPY usage_events (id, account_id, user_id, key_id, operation, endpoint, method, source, status, \
    outcome, units, response_time_ms, response_time_us, first_byte_us, bytes_in, bytes_out, request_id, replica, \
    created_at, \"over\") FROM STDIN (FORMAT binary)";
const COLUMNS: i16 = 20;

/// Writes the rows that [`encode`] made, in a transaction of their own.
pub async fn copy(pool: &PgPool, rows: Vec<u8>) {
    let mut copy = pool.copy_in_raw(STATEMENT).await.unwrap();
    copy.send(rows).await.unwrap();
    copy.finish().await.unwrap();
}

pub fn encode(events: &[Event]) -> Vec<u8> {
    let mut rows = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for event in events {
        rows.extend(COLUMNS.to_be_bytes());
        let mut field = |bytes: &[u8]| {
            rows.extend((bytes.len() as i32).to_be_bytes());
            rows.extend(bytes);
        };
        let time = event.response_time_us as i64;
        field(event.id.as_uuid().as_bytes());
        field(event.account.as_uuid().as_bytes());
        field(event.user.unwrap().as_uuid().as_bytes());
        field(event.key.unwrap().as_uuid().as_bytes());
        field(event.operation.as_str().as_bytes());
        field(event.endpoint.as_bytes());
        field(event.method.as_bytes());
        field(event.source.as_deref().unwrap().as_bytes());
        field(&i32::from(event.status).to_be_bytes());
        field(event.outcome.as_str().as_bytes());
        field(&1_i64.to_be_bytes());
        field(&(time / 1_000).to_be_bytes());
        field(&time.to_be_bytes());
        field(&(event.first_byte_us.unwrap() as i64).to_be_bytes());
        field(&(event.bytes_in as i64).to_be_bytes());
        field(&(event.bytes_out as i64).to_be_bytes());
        field(event.request_id.as_bytes());
        field(event.replica.as_uuid().as_bytes());
        field(&event.at.as_micros().to_be_bytes());
        field(&[u8::from(event.over)]);
    }
    rows.extend((-1_i16).to_be_bytes());
    rows
}
