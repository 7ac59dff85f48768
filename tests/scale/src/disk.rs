//! How much disk a database takes.

use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DatabaseBackend, Statement};

/// The bytes of everything in it.
pub async fn bytes(store: &SeaOrmStore) -> u64 {
    let connection = store.connection();
    let backend = connection.get_database_backend();
    let question = match backend {
        DatabaseBackend::Postgres => "SELECT pg_database_size(current_database()) AS bytes",
        DatabaseBackend::MySql => {
            "SELECT CAST(SUM(data_length + index_length) AS SIGNED) AS bytes FROM information_schema.tables \
             WHERE table_schema = DATABASE()"
        }
        _ => "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()",
    };
    let row = connection
        .query_one_raw(Statement::from_string(backend, question))
        .await
        .expect("an answer")
        .expect("a row");
    let bytes: i64 = row.try_get("", "bytes").expect("a number");
    u64::try_from(bytes).expect("not negative")
}
