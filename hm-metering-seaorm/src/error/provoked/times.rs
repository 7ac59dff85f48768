//! Statements that are broken off.

use std::time::Duration;

use hm_metering::StoreErrorKind::Timeout;
use sea_orm::ConnectionTrait;

use super::{Said, does, either, fails, impatient, is_mysql, number, on_servers};

const ID: [&str; 2] = [
    "SELECT CAST(pg_backend_pid() AS BIGINT)",
    "SELECT CAST(CONNECTION_ID() AS SIGNED)",
];

/// A statement that takes long.
async fn long(db: &impl ConnectionTrait) -> &'static str {
    if is_mysql(db).await {
        // A sleep that is broken off there goes well.
        return "SELECT COUNT(*) FROM information_schema.columns AS one, information_schema.columns AS two, \
                information_schema.columns AS three";
    }
    either(db, "SELECT pg_sleep(30)", "SELECT SLEEP(30)")
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_broken_off_by_the_database() {
    for database in on_servers().await {
        let db = impatient(&database).await;
        let sql = long(&db).await;
        let said = tokio::time::timeout(Duration::from_secs(10), fails(&db, sql)).await;
        let of_mysql = if is_mysql(&db).await { "3024" } else { "1969" };
        let code = either(&db, "57014", of_mysql);
        assert_eq!(said.unwrap(), Said::plainly(code, Timeout));
        db.close().await.unwrap();
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_was_told_to_stop_is_out_of_time() {
    use sea_orm::TransactionTrait;

    for database in on_servers().await {
        let db = database.connection().clone();
        let transaction = db.begin().await.unwrap();
        let session = number(&transaction, either(&db, ID[0], ID[1])).await;
        let sql = long(&db).await;
        let running = tokio::spawn(async move {
            let said = fails(&transaction, sql).await;
            transaction.rollback().await.unwrap();
            said
        });
        let stop = either(
            &db,
            format!("SELECT pg_cancel_backend({session})"),
            format!("KILL QUERY {session}"),
        );
        // It may not have begun yet.
        while !running.is_finished() {
            does(&db, &stop).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let code = either(&db, "57014", "1317");
        assert_eq!(running.await.unwrap(), Said::plainly(code, Timeout));
        database.close().await.unwrap();
    }
}
