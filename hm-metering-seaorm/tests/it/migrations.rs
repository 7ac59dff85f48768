//! The schema goes up, down and up again with data in place, and agrees with the entities.

use hm_metering_seaorm::sea_orm_migration::MigratorTrait;
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, migration};

use crate::rows;

#[tokio::test]
async fn every_column_of_every_entity_is_stored_and_read_back() {
    for database in TestDatabase::every().await.unwrap() {
        rows::assert_empty(database.connection()).await;
        rows::insert(database.connection()).await;
        rows::assert_present(database.connection()).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_schema_goes_up_down_and_up_again_with_data_in_place() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        Migrator::up(db, None).await.unwrap();
        rows::insert(db).await;
        Migrator::down(db, None).await.unwrap();
        assert!(Migrator::get_applied_migrations(db).await.unwrap().is_empty());
        Migrator::up(db, None).await.unwrap();
        rows::assert_empty(db).await;
        rows::insert(db).await;
        rows::assert_present(db).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn each_step_can_be_undone_by_itself() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        for _ in migration::migrations() {
            Migrator::up(db, Some(1)).await.unwrap();
            Migrator::down(db, Some(1)).await.unwrap();
            Migrator::up(db, Some(1)).await.unwrap();
        }
        assert!(Migrator::get_pending_migrations(db).await.unwrap().is_empty());
        rows::insert(db).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn migrating_again_keeps_the_data() {
    for database in TestDatabase::every().await.unwrap() {
        rows::insert(database.connection()).await;
        Migrator::up(database.connection(), None).await.unwrap();
        rows::assert_present(database.connection()).await;
        database.close().await.unwrap();
    }
}
