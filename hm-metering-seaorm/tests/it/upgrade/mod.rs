//! Servers of one version go on working while another one brings the schema to the next: no call fails, and nothing is lost or
//! counted twice.
//!
//! The stores under load are those of this version. First they meet the steps of this version that leave them alone, then steps of
//! a version that is still to come.

mod later;
mod load;

use std::time::Duration;

use hm_metering::usage::UsageQuery;
use hm_metering::{UsageSink, UsageStore};
use hm_metering_seaorm::migration::{MigrateError, must_be_current};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use hm_metering_seaorm::sea_orm_migration::{MigrationTrait, MigratorTrait};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, migration, operator};

use self::later::Later;
use self::load::Load;
use crate::fixtures::{NOW, account, batch, event, holder, later, store};

/// All steps but the one that divides the ledger, which needs nothing of the programs.
struct Whole;

impl MigratorTrait for Whole {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut steps = migration::migrations();
        steps.retain(|step| !step.name().ends_with("_partitions"));
        steps
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_work_on_while_the_ledger_is_divided() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        migration::up::<Whole>(db).await.unwrap();
        let load = Load::begin(database.url()).await;
        load.goes_on().await;
        migration::up::<Migrator>(db).await.unwrap();
        load.goes_on().await;
        let migrated = store(&database).await;
        operator::make_partitions(&migrated, NOW).await.unwrap();
        load.goes_on().await;
        load.end().await;
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_work_on_while_a_later_version_migrates_and_are_not_started_again_after_it() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        migration::up::<Migrator>(db).await.unwrap();
        operator::make_partitions(&store(&database).await, NOW)
            .await
            .unwrap();
        let load = Load::begin(database.url()).await;
        load.goes_on().await;
        migration::up::<Later>(db).await.unwrap();
        load.goes_on().await;
        load.end().await;
        let refused = must_be_current::<Migrator>(db).await.unwrap_err();
        assert!(matches!(refused, MigrateError::TooNew(_)), "{refused}");
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_asked_again_when_a_table_is_made_anew_after_it_has_begun() {
    let Some(database) = TestDatabase::mysql().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    let account = account(&store).await;
    let batch = batch(holder(), 1, vec![event(account, None)], Vec::new());
    store.record(&batch).await.unwrap();
    let db = database.connection();
    let changing = db.begin().await.unwrap();
    // The first of the question's statements reads other tables, the second one this.
    let lock = "LOCK TABLES usage_rollup_units WRITE";
    changing.execute_unprepared(lock).await.unwrap();
    let asking = tokio::spawn(async move {
        // Whole days.
        let query = UsageQuery::new(account, later(-6 * 3_600), later(18 * 3_600));
        store.totals(&query).await
    });
    // The comment that begins with `M` is for MariaDB, the other for MySQL.
    let waiting = "SELECT 1 FROM /*M! information_schema.processlist WHERE db = DATABASE() AND state */ \
                   /*!80000 performance_schema.threads WHERE processlist_db = DATABASE() AND processlist_state */ \
                   = 'Waiting for table metadata lock'";
    let waiting = Statement::from_string(DbBackend::MySql, waiting);
    let waits = async {
        while db.query_one_raw(waiting.clone()).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waits = tokio::time::timeout(Duration::from_secs(20), waits).await;
    waits.expect("the question waits for the table");
    for statement in ["ALTER TABLE usage_rollup_units FORCE", "UNLOCK TABLES"] {
        changing.execute_unprepared(statement).await.unwrap();
    }
    changing.commit().await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap().requests, 1);
    database.close().await.unwrap();
}
