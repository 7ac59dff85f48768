//! A database that is slow, locked, gone or wrong: the answer says so, in time, and says no secret.

use std::error::Error;
use std::time::Duration;

use hm_metering::{QuotaStore, StoreErrorKind};
use hm_metering_seaorm::entity::{PasswordHash, UserRole, user};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, TransactionTrait};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Options, SeaOrmStore};
use uuid::Uuid;

use crate::fixtures::{account, ask, counter, holder, is_on_mysql, store};

fn impatient() -> Options {
    Options {
        acquire_timeout: Duration::from_millis(500),
        statement_timeout: Duration::from_millis(300),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_too_long_ends_the_wait_and_nothing_is_half_done() {
    for database in TestDatabase::every().await.unwrap() {
        let patient = store(&database).await;
        let store = SeaOrmStore::connect_with(database.url(), &impatient())
            .await
            .unwrap();
        let key = counter(account(&patient).await);
        patient.lease(&ask(holder(), 1, &key, 10, 1)).await.unwrap();

        let holding = patient.connection().begin().await.unwrap();
        holding
            .execute_unprepared("UPDATE quota_counters SET used = used")
            .await
            .unwrap();
        let blocked = holder();
        let error = store.lease(&ask(blocked, 1, &key, 10, 4)).await.unwrap_err();
        let expected = match patient.connection().get_database_backend() {
            DbBackend::Sqlite => StoreErrorKind::Unavailable,
            // It bounds the wait for a lock, and not the statement.
            _ if is_on_mysql(&database).await => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Timeout,
        };
        assert_eq!(error.kind(), expected, "{error:?}");
        assert!(error.source().is_some());
        holding.rollback().await.unwrap();

        let grant = store.lease(&ask(blocked, 1, &key, 10, 4)).await.unwrap();
        assert_eq!((grant.granted.get(), grant.balance.leased.get()), (4, 5));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_gets_an_answer_even_when_the_database_gives_none() {
    for database in TestDatabase::every().await.unwrap() {
        let patient = store(&database).await;
        let options = Options {
            operation_timeout: Duration::from_millis(200),
            ..Options::default()
        };
        let store = SeaOrmStore::connect_with(database.url(), &options).await.unwrap();
        let key = counter(account(&patient).await);
        patient.lease(&ask(holder(), 1, &key, 10, 1)).await.unwrap();
        let holding = patient.connection().begin().await.unwrap();
        holding
            .execute_unprepared("UPDATE quota_counters SET used = used")
            .await
            .unwrap();
        let error = store.lease(&ask(holder(), 1, &key, 10, 1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Timeout);
        holding.rollback().await.unwrap();
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_the_password_stays_secret() {
    // Port 1 of this machine: nothing listens there.
    for url in [
        "postgres://user:hunter2@127.0.0.1:1/db",
        "mariadb://user:hunter2@127.0.0.1:1/db",
    ] {
        let error = SeaOrmStore::connect_with(url, &impatient()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
    for url in [
        "oracle://user:hunter2@127.0.0.1/db",
        "mysql://user:hunter2@[bad/db",
        "postgres://user:hunter2@[bad/db",
        "hunter2",
    ] {
        let error = SeaOrmStore::connect_with(url, &impatient()).await.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn a_database_that_goes_away_is_unavailable() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let store = SeaOrmStore::connect_with(database.url(), &impatient())
            .await
            .unwrap();
        let key = counter(account(&store).await);
        store.lease(&ask(holder(), 1, &key, 10, 1)).await.unwrap();
        database.close().await.unwrap();
        for _ in 0..3 {
            let error = store.lease(&ask(holder(), 1, &key, 10, 1)).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        store.ping().await.unwrap();
        store.close().await.unwrap();
        let error = store.ping().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        database.close().await.unwrap();
    }
}

#[test]
fn the_hash_of_a_password_is_not_shown() {
    let user = user::Model {
        id: Uuid::nil(),
        email: "ada@example.org".into(),
        password_hash: PasswordHash("$argon2id$hunter2".into()),
        name: "Ada".into(),
        role: UserRole::User,
        email_verified_at: None,
        tier: "free".into(),
        created_at: 0,
        updated_at: 0,
    };
    assert!(!format!("{user:?} {:?}", user::ActiveModel::from(user.clone())).contains("hunter2"));
}
