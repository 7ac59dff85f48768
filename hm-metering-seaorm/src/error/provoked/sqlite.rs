//! What only a file can say.

use std::time::Duration;

use hm_metering::StoreErrorKind::{Corrupt, Invalid, Unavailable};
use sea_orm::{SqliteTransactionMode, TransactionOptions, TransactionTrait};

use super::{Said, does, fails, impatient, number, tables};
use crate::connect::{Options, connect};
use crate::testing::TestDatabase;

fn writing() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
}

#[tokio::test]
async fn a_file_that_another_process_writes_to_is_unavailable_after_the_time_out() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    tables(database.connection()).await;
    let other = impatient(&database).await;
    let holding = other.begin_with_options(writing()).await.unwrap();
    let late = impatient(&database).await;
    let waiting = fails(&late, "UPDATE parents SET size = 1");
    let said = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(said.unwrap(), Said::plainly("5", Unavailable));
    holding.rollback().await.unwrap();
    does(&late, "UPDATE parents SET size = 1").await;
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_view_that_is_out_of_date_can_not_write() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    tables(database.connection()).await;
    let other = impatient(&database).await;
    let view = other.begin().await.unwrap();
    number(&view, "SELECT COUNT(*) FROM parents").await;
    does(database.connection(), "UPDATE parents SET size = 1").await;
    let said = fails(&view, "UPDATE parents SET size = 2").await;
    assert_eq!(said, Said::plainly("517", Unavailable));
    view.rollback().await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_unavailable() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    let db = database.connection();
    tables(db).await;
    let pages = number(db, "PRAGMA page_count").await;
    does(db, &format!("PRAGMA max_page_count = {pages}")).await;
    does(db, "CREATE TABLE IF NOT EXISTS parents (id)").await;
    let fill = "INSERT INTO parents SELECT 10 + value, hex(randomblob(4000)), 0 FROM json_each('[1,2,3,4,5,6,7,8,9]')";
    assert_eq!(fails(db, fill).await, Said::plainly("13", Unavailable));
    database.close().await.unwrap();
}

#[tokio::test]
async fn values_that_no_column_can_hold_are_invalid() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    let db = database.connection();
    tables(db).await;
    for (sql, code) in [
        ("INSERT INTO parents VALUES ('x', 'new', 0)", "20"),
        ("INSERT INTO parents VALUES (9, zeroblob(2000000000), 0)", "18"),
    ] {
        assert_eq!(fails(db, sql).await, Said::plainly(code, Invalid), "{sql}");
    }
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_a_folder_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.sqlite");
    std::fs::write(
        &file,
        "not a database, but long enough to be looked at ".repeat(40),
    )
    .unwrap();
    let options = Options::default();
    let error = connect(&format!("sqlite://{}", file.display()), &options)
        .await
        .unwrap_err();
    assert_eq!(Said::of(&error), Said::plainly("26", Corrupt));
    let error = connect(&format!("sqlite://{}", folder.path().display()), &options)
        .await
        .unwrap_err();
    assert_eq!(Said::of(&error), Said::plainly("14", Unavailable));
}

#[tokio::test]
async fn a_page_that_was_overwritten_is_corrupt() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    let db = database.connection();
    tables(db).await;
    does(db, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let size = number(db, "PRAGMA page_size").await.unsigned_abs();
    let file = database.url().trim_start_matches("sqlite://");
    let file = file.split('?').next().unwrap();
    let mut bytes = std::fs::read(file).unwrap();
    let second = usize::try_from(size).unwrap();
    bytes[second..].fill(0x5a);
    std::fs::write(file, bytes).unwrap();
    let fresh = connect(database.url(), &Options::default()).await.unwrap();
    let said = fails(&fresh, "UPDATE parents SET size = size + 1").await;
    assert_eq!(said, Said::plainly("11", Corrupt));
    fresh.close().await.unwrap();
    database.close().await.unwrap();
}
