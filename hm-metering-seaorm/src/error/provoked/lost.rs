//! Connections that are not to be had, or break.

use std::time::Duration;

use hm_metering::StoreErrorKind::Unavailable;
use sea_orm::{DbErr, TransactionTrait};

use super::{Said, does, either, kind_of, lost_a_race, lost_the_connection, number, on_servers};
use crate::connect::{Options, connect};

/// Whatever a database or the system says of a connection that broke in the middle of a statement.
fn must_be_lost(error: &DbErr) {
    assert_eq!(kind_of(error), Unavailable, "{error:?}");
    assert!(lost_the_connection(error), "{error:?}");
    assert!(!lost_a_race(error), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_ended_in_the_middle_of_a_statement_is_lost() {
    use sea_orm::ConnectionTrait;

    for database in on_servers().await {
        let db = database.connection().clone();
        let transaction = db.begin().await.unwrap();
        let session = number(
            &transaction,
            either(
                &db,
                "SELECT CAST(pg_backend_pid() AS BIGINT)",
                "SELECT CAST(CONNECTION_ID() AS SIGNED)",
            ),
        )
        .await;
        let sleep = either(&db, "SELECT pg_sleep(30)", "SELECT SLEEP(30)");
        let running = tokio::spawn(async move {
            let error = transaction.execute_unprepared(sleep).await.unwrap_err();
            (
                error,
                transaction.execute_unprepared("SELECT 1").await.unwrap_err(),
            )
        });
        let end = either(
            &db,
            format!("SELECT pg_terminate_backend({session})"),
            format!("KILL {session}"),
        );
        does(&db, &end).await;
        let (at_first, from_then_on) = running.await.unwrap();
        must_be_lost(&at_first);
        must_be_lost(&from_then_on);
        // The pool has others.
        does(&db, "SELECT 1").await;
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_ended_for_doing_nothing_in_mid_transaction_is_lost() {
    use sea_orm::ConnectionTrait;

    for database in on_servers().await {
        let options = Options {
            transaction_idle_timeout: Duration::from_millis(200),
            ..Options::default()
        };
        let db = connect(database.url(), &options).await.unwrap();
        let transaction = db.begin().await.unwrap();
        let session = number(
            &transaction,
            either(
                &db,
                "SELECT CAST(pg_backend_pid() AS BIGINT)",
                "SELECT CAST(CONNECTION_ID() AS SIGNED)",
            ),
        )
        .await;
        let is_there = either(
            &db,
            format!("SELECT COUNT(*) FROM pg_stat_activity WHERE pid = {session}"),
            format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {session}"),
        );
        let ended = async {
            while number(database.connection(), &is_there).await == 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended)
            .await
            .unwrap();
        must_be_lost(&transaction.execute_unprepared("SELECT 1").await.unwrap_err());
        must_be_lost(&transaction.execute_unprepared("SELECT 1").await.unwrap_err());
        // The pool has others.
        does(&db, "SELECT 1").await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn nobody_listening_is_unavailable_when_the_time_is_over() {
    for scheme in ["postgres", "mysql"] {
        let options = Options {
            connect_timeout: Duration::from_millis(300),
            ..Options::default()
        };
        // Port 1 of this machine: nothing listens there.
        let url = format!("{scheme}://nobody@127.0.0.1:1/none");
        let connecting = tokio::time::timeout(Duration::from_secs(4), connect(&url, &options));
        let error = connecting.await.unwrap().unwrap_err();
        assert_eq!(kind_of(&error), Unavailable, "{error:?}");
    }
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_unavailable() {
    for database in on_servers().await {
        let options = Options {
            connections_max: 1,
            acquire_timeout: Duration::from_millis(100),
            ..Options::default()
        };
        let db = connect(database.url(), &options).await.unwrap();
        let holding = db.begin().await.unwrap();
        let error = db.begin().await.unwrap_err();
        assert_eq!(kind_of(&error), Unavailable, "{error:?}");
        assert!(!lost_the_connection(&error));
        holding.rollback().await.unwrap();
        db.begin().await.unwrap().rollback().await.unwrap();
        db.close_by_ref().await.unwrap();
        let error = db.begin().await.unwrap_err();
        assert_eq!(kind_of(&error), Unavailable, "{error:?}");
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_goes_away_says_so_or_nothing() {
    for database in on_servers().await {
        let db = connect(database.url(), &Options::default()).await.unwrap();
        does(&db, "SELECT 1").await;
        database.close().await.unwrap();
        let said = match db.begin().await {
            Ok(_) => panic!("the database is gone"),
            Err(error) => Said::of(&error),
        };
        assert_eq!(said.kind, Unavailable);
        assert_eq!(said.code, either(&db, "3D000", "1049"));
    }
}
