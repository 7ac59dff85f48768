//! Transactions that are in each other's way.

use hm_metering::StoreErrorKind::Unavailable;
use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, TransactionTrait};

use super::{Said, does, either, fails, on_servers, tables};

fn lost(code: &str) -> Said {
    Said {
        race: true,
        ..Said::plainly(code, Unavailable)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_wait_for_each_other_one_lost_a_race() {
    for database in on_servers().await {
        let db = database.connection();
        tables(db).await;
        let change = |transaction: DatabaseTransaction, id: i32| async move {
            let sql = format!("UPDATE parents SET size = size + 1 WHERE id = {id}");
            let done = transaction.execute_unprepared(&sql).await;
            (transaction, done)
        };
        let (one, _) = change(db.begin().await.unwrap(), 1).await;
        let (other, _) = change(db.begin().await.unwrap(), 2).await;
        let (one, other) = (tokio::spawn(change(one, 2)), tokio::spawn(change(other, 1)));
        let mut errors = Vec::new();
        // The one that goes on waits for the one that was broken off, which ends when it is dropped.
        let mut running = vec![one, other];
        while !running.is_empty() {
            let (done, _, rest) = futures_util::future::select_all(running).await;
            let (transaction, result) = done.unwrap();
            errors.extend(result.err());
            transaction.rollback().await.unwrap();
            running = rest;
        }
        let said: Vec<_> = errors.iter().map(Said::of).collect();
        assert_eq!(said, [lost(either(db, "40P01", "1213"))]);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_row_that_changed_since_the_view_began_is_a_lost_race() {
    for database in on_servers().await {
        let db = database.connection();
        if super::is_mysql(db).await {
            // Its views say nothing of what is changed there.
            continue;
        }
        tables(db).await;
        let level = Some(IsolationLevel::RepeatableRead);
        let view = db.begin_with_config(level, None).await.unwrap();
        if let Some(strictly) = either(db, None, Some("SET SESSION innodb_snapshot_isolation = ON")) {
            does(&view, strictly).await;
        }
        super::number(&view, "SELECT COUNT(*) FROM parents").await;
        does(db, "UPDATE parents SET size = 5 WHERE id = 1").await;
        let said = fails(&view, "UPDATE parents SET size = 6 WHERE id = 1").await;
        assert_eq!(said, lost(either(db, "40001", "1020")));
        view.rollback().await.unwrap();
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_lock_that_was_not_to_be_had_is_no_lost_race() {
    for database in on_servers().await {
        let db = database.connection();
        tables(db).await;
        let holding = db.begin().await.unwrap();
        does(&holding, "UPDATE parents SET size = 5 WHERE id = 1").await;
        let waiting = db.begin().await.unwrap();
        let (impatience, code) = either(
            db,
            ("SET LOCAL lock_timeout = '50ms'", "55P03"),
            ("SET SESSION innodb_lock_wait_timeout = 1", "1205"),
        );
        does(&waiting, impatience).await;
        let said = fails(&waiting, "UPDATE parents SET size = 6 WHERE id = 1").await;
        assert_eq!(said, Said::plainly(code, Unavailable));
        holding.rollback().await.unwrap();
        waiting.rollback().await.unwrap();
        database.close().await.unwrap();
    }
}
