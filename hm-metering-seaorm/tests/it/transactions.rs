//! Transactions of a server's own are done as the store does its own: again, when they lost a race.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hm_metering::StoreErrorKind;
use hm_metering_seaorm::connect::connect;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, TransactionTrait};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Options, kind_of, transaction};
use tokio::sync::{Barrier, Notify};

async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Two rows that hold zero.
async fn two_rows(db: &DatabaseConnection) {
    for sql in [
        "CREATE TABLE pots (id INTEGER NOT NULL PRIMARY KEY, held BIGINT NOT NULL)",
        "INSERT INTO pots VALUES (1, 0), (2, 0)",
    ] {
        db.execute_unprepared(sql).await.unwrap();
    }
}

const SUM: &str = "SELECT CAST(SUM(held) AS BIGINT) FROM pots";

/// Adds one to both rows, the one named first. The first attempt of each waits between the two until `met`.
async fn add(db: DatabaseConnection, first: i32, met: Arc<Barrier>) -> Result<u32, DbErr> {
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    transaction(&db, move |tx| {
        let (met, attempts) = (Arc::clone(&met), Arc::clone(&counted));
        Box::pin(async move {
            let sql = |id: i32| format!("UPDATE pots SET held = held + 1 WHERE id = {id}");
            tx.execute_unprepared(&sql(first)).await?;
            if attempts.fetch_add(1, Ordering::SeqCst) == 0 {
                met.wait().await;
            }
            tx.execute_unprepared(&sql(3 - first)).await?;
            Ok::<_, DbErr>(())
        })
    })
    .await?;
    Ok(attempts.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_in_each_others_way_are_both_done_once() {
    let servers = [
        TestDatabase::empty_postgres().await,
        TestDatabase::empty_mysql().await,
    ];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let db = database.connection();
        two_rows(db).await;
        let met = Arc::new(Barrier::new(2));
        let one = tokio::spawn(add(db.clone(), 1, Arc::clone(&met)));
        let other = tokio::spawn(add(db.clone(), 2, met));
        let attempts = one.await.unwrap().unwrap() + other.await.unwrap().unwrap();
        assert!(attempts > 2, "nobody lost a race");
        let sum = SUM.replace("BIGINT", if is_mysql(db) { "SIGNED" } else { "BIGINT" });
        assert_eq!(number(db, &sum).await, 4);
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_waits_for_a_row_in_vain_waits_again() {
    let servers = [
        TestDatabase::empty_postgres().await,
        TestDatabase::empty_mysql().await,
    ];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        two_rows(database.connection()).await;
        let options = Options {
            lock_timeout: Duration::from_millis(100),
            ..Options::default()
        };
        let db = connect(database.url(), &options).await.unwrap();
        let add = "UPDATE pots SET held = held + 1 WHERE id = 1";
        let holder = database.connection().begin().await.unwrap();
        holder.execute_unprepared(add).await.unwrap();
        let (attempts, again) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let (counted, told) = (Arc::clone(&attempts), Arc::clone(&again));
        let waiting = transaction(&db, move |tx| {
            if counted.fetch_add(1, Ordering::SeqCst) == 1 {
                told.notify_one();
            }
            Box::pin(async move { tx.execute_unprepared(add).await })
        });
        let leaving = async {
            again.notified().await;
            holder.rollback().await.unwrap();
        };
        let (done, ()) = tokio::join!(waiting, leaving);
        assert_eq!(done.unwrap().rows_affected(), 1);
        assert!(attempts.load(Ordering::SeqCst) > 1);
        db.close().await.unwrap();
        database.close().await.unwrap();
    }
}

fn is_mysql(db: &DatabaseConnection) -> bool {
    db.get_database_backend() == hm_metering_seaorm::sea_orm::DbBackend::MySql
}

#[tokio::test]
async fn an_error_of_the_work_itself_undoes_it_and_is_not_tried_again() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        two_rows(db).await;
        let attempts = Arc::new(AtomicU32::new(0));
        for sql in ["INSERT INTO pots VALUES (1, 0)", "INSERT INTO nowhere VALUES (1)"] {
            let counted = Arc::clone(&attempts);
            let refused: Result<(), DbErr> = transaction(db, move |tx| {
                counted.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    tx.execute_unprepared("UPDATE pots SET held = 5").await?;
                    tx.execute_unprepared(sql).await.map(drop)
                })
            })
            .await;
            let kind = kind_of(&refused.unwrap_err());
            assert!(
                !matches!(kind, StoreErrorKind::Unavailable | StoreErrorKind::Timeout),
                "{kind:?}"
            );
        }
        assert_eq!(attempts.load(Ordering::SeqCst), 2);
        assert_eq!(number(db, "SELECT COUNT(*) FROM pots WHERE held = 0").await, 2);
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_reading_first_and_writing_then_waits_for_other_processes() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    two_rows(database.connection()).await;
    let processes = [(); 2].map(|()| async {
        let db = connect(database.url(), &Options::default()).await.unwrap();
        for _ in 0..50 {
            let added: Result<(), DbErr> = transaction(&db, |tx| {
                Box::pin(async move {
                    let ask = Statement::from_string(
                        tx.get_database_backend(),
                        "SELECT held FROM pots WHERE id = 1",
                    );
                    let row = tx.query_one_raw(ask).await?;
                    let held: i64 = row.unwrap().try_get_by_index(0)?;
                    let sql = format!("UPDATE pots SET held = {} WHERE id = 1", held + 1);
                    tx.execute_unprepared(&sql).await.map(drop)
                })
            })
            .await;
            added.unwrap();
        }
        db.close().await.unwrap();
    });
    futures_util::future::join_all(processes).await;
    assert_eq!(
        number(database.connection(), "SELECT held FROM pots WHERE id = 1").await,
        100
    );
    database.close().await.unwrap();
}
