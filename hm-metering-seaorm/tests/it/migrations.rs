//! The schema goes up, down and up again with data in place, and agrees with the entities.

use hm_metering::keys::{KeyQuotas, NewKey};
use hm_metering::page::PageRequest;
use hm_metering::plan::Quota;
use hm_metering::quota::QuotaKey;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{AccountId, EventId, KeyId, KeyStore, QuotaStore, ReplicaId, UsageSink, UsageStore};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend};
use hm_metering_seaorm::sea_orm_migration::MigratorTrait;
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, SeaOrmStore, migration};
use uuid::Uuid;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, later, new_key, store};
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

#[tokio::test]
async fn the_way_back_from_quotas_of_keys_forgets_them_and_keeps_what_accounts_used() {
    for database in TestDatabase::every().await.unwrap() {
        let (store, db) = (store(&database).await, database.connection());
        let account = account(&store).await;
        let key = NewKey {
            quotas: KeyQuotas::new([Quota::per_day(10)]).unwrap(),
            ..new_key(account)
        };
        store.insert(&key).await.unwrap();
        let of_account = counter(account);
        let of_key = QuotaKey {
            key: Some(key.id),
            ..of_account.clone()
        };
        for counter in [&of_account, &of_key] {
            store.lease(&ask(holder(), 1, counter, 10, 4)).await.unwrap();
        }
        let both = [of_account, of_key];
        let leased = async || {
            store
                .balances(&both)
                .await
                .unwrap()
                .iter()
                .map(|has| has.leased.get())
                .collect::<Vec<_>>()
        };
        assert_eq!(leased().await, [4, 4]);
        while Migrator::get_applied_migrations(db)
            .await
            .unwrap()
            .last()
            .unwrap()
            .name()
            != "m20261129_000012_partitions"
        {
            Migrator::down(db, Some(1)).await.unwrap();
        }
        Migrator::up(db, None).await.unwrap();
        assert_eq!(leased().await, [4, 0]);
        let record = store.get(account, key.id).await.unwrap().unwrap();
        assert!(record.quotas.is_empty());
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_schema_that_is_newer_than_the_program_is_refused_and_left_alone() {
    for database in TestDatabase::every().await.unwrap() {
        let db = database.connection();
        db.execute_unprepared(
            "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)",
        )
        .await
        .unwrap();
        let errors = [
            migration::up::<Migrator>(db).await.unwrap_err(),
            migration::down::<Migrator>(db, 1).await.unwrap_err(),
            migration::must_be_current::<Migrator>(db).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains("m20991231_000001_later"), "{error}");
            assert!(error.to_string().contains("newer than this program"), "{error}");
        }
        let steps = migration::status::<Migrator>(db).await.unwrap();
        assert!(steps.iter().all(|step| step.applied));
        assert_eq!(steps.iter().filter(|step| !step.known).count(), 1);
        assert!(SeaOrmStore::open(database.url()).await.is_err());
        rows::insert(db).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_schema_that_is_older_than_the_program_is_told_apart() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        Migrator::up(db, Some(3)).await.unwrap();
        let error = migration::must_be_current::<Migrator>(db).await.unwrap_err();
        assert!(error.to_string().contains("older than this program"), "{error}");
        migration::up::<Migrator>(db).await.unwrap();
        migration::must_be_current::<Migrator>(db).await.unwrap();
        migration::down::<Migrator>(db, 2).await.unwrap();
        let applied = migration::status::<Migrator>(db).await.unwrap();
        assert_eq!(applied.iter().filter(|step| !step.applied).count(), 2);
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_migrate_at_once_migrate_once() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let ups: Vec<_> = (0..6)
            .map(|_| {
                let url = database.url().to_owned();
                tokio::spawn(async move { SeaOrmStore::open(&url).await })
            })
            .collect();
        for up in ups {
            up.await.unwrap().unwrap();
        }
        assert!(
            Migrator::get_pending_migrations(database.connection())
                .await
                .unwrap()
                .is_empty()
        );
        rows::insert(database.connection()).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn each_step_goes_up_down_and_up_with_events_in_place_and_they_are_summed_up_again() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = AccountId::from_uuid(Uuid::new_v4());
        let events = (0..30)
            .map(|place| Event {
                at: later(place * 977),
                ..event(account, None)
            })
            .collect();
        store
            .record(&batch(holder(), 1, events, Vec::new()))
            .await
            .unwrap();
        let query = UsageQuery::new(account, later(-86_400), later(86_400));
        let before = (
            store.totals(&query).await.unwrap(),
            store.response_times(&query, &[0.5]).await.unwrap(),
        );
        let db = database.connection();
        let since_events = migration::migrations().len() - 7;
        for back in 1..=since_events {
            migration::down::<Migrator>(db, u32::try_from(back).unwrap())
                .await
                .unwrap();
            migration::up::<Migrator>(db).await.unwrap();
            let after = (
                store.totals(&query).await.unwrap(),
                store.response_times(&query, &[0.5]).await.unwrap(),
            );
            assert_eq!(after, before, "{back} steps");
        }
        database.close().await.unwrap();
    }
}
