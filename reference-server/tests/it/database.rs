//! The time-outs of `[database]`, as requests feel them.

use std::time::Duration;

use hm_metering_seaorm::connect::{Options, connect};
use sea_orm::{
    ConnectionTrait, DbBackend, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use serde_json::json;

use crate::harness::{PASSWORD, Server};

#[tokio::test]
async fn a_request_waits_no_longer_for_the_database_than_the_settings_say() {
    let settings =
        "[database]\nstatement_timeout_ms = 200\nacquire_timeout_ms = 500\noperation_timeout_ms = 1000";
    let server = Server::with(settings).await;
    let ada = server.register("ada@example.org").await;
    let other = connect(&server.app.config().database.url, &Options::default())
        .await
        .unwrap();
    let writing = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let holding = other.begin_with_options(writing).await.unwrap();
    let name = json!({ "name": "test" });
    let create = || server.post("/api/v1/keys", &name).token(&ada.access_token).send();
    // The defaults are ten seconds for a lock and fifteen for an operation.
    let answer = tokio::time::timeout(Duration::from_secs(5), create()).await;
    answer.unwrap().problem(503, "unavailable");
    holding.rollback().await.unwrap();
    assert_eq!(create().await.status, 201);
    other.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_in_goes_well_while_another_process_writes() {
    let server = Server::with("[auth.login]\nburst_per_minute = 10000").await;
    server.register("ada@example.org").await;
    let other = connect(&server.app.config().database.url, &Options::default())
        .await
        .unwrap();
    let writing = tokio::spawn(async move {
        loop {
            other
                .execute_unprepared("UPDATE accounts SET updated_at = updated_at + 1")
                .await
                .unwrap();
        }
    });
    for round in 0..100 {
        let answer = server.login("ada@example.org", PASSWORD).await;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
    }
    writing.abort();
}

#[tokio::test]
async fn a_journal_that_survives_power_failures_has_a_database_that_does() {
    for (durability, synchronous) in [("process", 1), ("power", 2)] {
        let server = Server::with(&format!("[usage.journal]\ndurability = '{durability}'")).await;
        let pragma = Statement::from_string(DbBackend::Sqlite, "PRAGMA synchronous");
        let row = server.app.database().writer().query_one_raw(pragma).await;
        let value: i64 = row.unwrap().unwrap().try_get_by_index(0).unwrap();
        assert_eq!(value, synchronous, "{durability}");
    }
}
