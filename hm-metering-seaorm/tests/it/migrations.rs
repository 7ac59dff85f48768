//! The schema goes up, down and up again with data in place, and agrees with the entities.

use hm_metering::page::PageRequest;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{AccountId, EventId, KeyId, KeyStore, ReplicaId, UsageStore};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend};
use hm_metering_seaorm::sea_orm_migration::MigratorTrait;
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, SeaOrmStore, migration};
use uuid::Uuid;

use crate::fixtures::{NOW, event, later, store};
use crate::rows;

#[tokio::test]
async fn a_store_that_is_opened_has_its_tables() {
    let store = SeaOrmStore::open("sqlite::memory:").await.unwrap();
    let (account, key) = (AccountId::from_uuid(Uuid::nil()), KeyId::from_uuid(Uuid::nil()));
    assert!(store.get(account, key).await.unwrap().is_none());
}

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

#[tokio::test]
async fn events_of_the_first_schema_are_listed_after_the_details_have_come() {
    let (id, account, replica) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        Migrator::up(db, Some(6)).await.unwrap();
        let literal = |id: Uuid| match db.get_database_backend() {
            DbBackend::Postgres => format!("'{id}'"),
            _ => format!("x'{}'", id.simple()),
        };
        db.execute_unprepared(&format!(
            "INSERT INTO usage_events (id, account_id, operation, endpoint, method, source, status, outcome, units, \
             response_time_ms, response_time_us, request_id, replica, created_at) VALUES ({}, {}, 'data.query', \
             '/api/v1/data', 'GET', 'wiki', 200, 'completed', 1, 1, 1500, 'r', {}, {})",
            literal(id),
            literal(account),
            literal(replica),
            NOW.as_micros(),
        ))
        .await
        .unwrap();
        Migrator::up(db, None).await.unwrap();

        let account = AccountId::from_uuid(account);
        let query = UsageQuery::new(account, later(-1), later(1));
        let listed = store(&database)
            .await
            .recent(&query, &PageRequest::first(10))
            .await
            .unwrap();
        let expected = Event {
            id: EventId::from_uuid(id),
            replica: ReplicaId::from_uuid(replica),
            ..event(account, None)
        };
        assert_eq!(listed.items, [expected]);
        database.close().await.unwrap();
    }
}
