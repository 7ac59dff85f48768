//! Sessions: what holds in them whatever the server is set to, and what happens when they break.

use std::time::Duration;

use hm_metering::{KeyStore, QuotaStore, StoreErrorKind};
use hm_metering_seaorm::entity::{PasswordHash, UserRole, user};
use hm_metering_seaorm::sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseConnection, DbBackend, IntoActiveModel, Statement,
    TransactionTrait,
};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Options, SeaOrmStore, connect, kind_of};
use uuid::Uuid;

use crate::fixtures::{NOW, account, ask, counter, holder, new_key, store};
use crate::rows;

/// Ends the sessions of this database that wait for a lock, once there are some.
async fn end_those_that_wait(db: &DatabaseConnection) {
    let backend = db.get_database_backend();
    let waiting = match backend {
        DbBackend::Postgres => {
            "SELECT CAST(pid AS BIGINT) FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock'"
        }
        _ => {
            // The comment that begins with `M` is for MariaDB, the other for MySQL.
            "/*M! SELECT CAST(trx_mysql_thread_id AS SIGNED) FROM information_schema.innodb_trx AS trx \
             JOIN information_schema.processlist AS process ON process.id = trx.trx_mysql_thread_id \
             WHERE trx_state = 'LOCK WAIT' AND process.db = DATABASE() */ \
             /*!80000 SELECT CAST(processlist_id AS SIGNED) FROM performance_schema.data_lock_waits \
             JOIN performance_schema.threads ON thread_id = requesting_thread_id \
             WHERE processlist_db = DATABASE() */"
        }
    };
    let end = async {
        loop {
            let statement = Statement::from_string(backend, waiting);
            let sessions = db.query_all_raw(statement).await.unwrap();
            for session in &sessions {
                let session: i64 = session.try_get_by_index(0).unwrap();
                let end = match backend {
                    DbBackend::Postgres => format!("SELECT pg_terminate_backend({session})"),
                    _ => format!("KILL {session}"),
                };
                db.execute_unprepared(&end).await.unwrap();
            }
            if !sessions.is_empty() {
                return;
            }
            // MariaDB looks for itself only when nobody has asked it for a tenth of a second.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), end).await.unwrap();
}

#[tokio::test]
async fn a_database_in_another_time_zone_keeps_and_gives_the_same() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        if database.connection().get_database_backend() == DbBackend::Postgres {
            let address = database.url().split('?').next().unwrap();
            let name = address.rsplit('/').next().unwrap();
            let zone = format!("ALTER DATABASE {name} SET timezone = 'Pacific/Chatham'");
            database.connection().execute_unprepared(&zone).await.unwrap();
        }
        // New sessions, which begin with what the database says.
        let store = store(&database).await;
        rows::insert(store.connection()).await;
        rows::assert_present(store.connection()).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn sessions_with_mariadb_are_strict_in_utc_and_bounded_whatever_the_server_is_set_to() {
    let Some(database) = TestDatabase::mysql().await.unwrap() else {
        return;
    };
    let settings = "SELECT CONCAT_WS(' ', @@session.time_zone, @@session.innodb_lock_wait_timeout, \
                    @@session.lock_wait_timeout, @@session.idle_transaction_timeout, FIND_IN_SET('STRICT_ALL_TABLES', @@session.sql_mode) > 0)";
    let sessions = connect::connect(database.url(), &Options::default())
        .await
        .unwrap();
    let row = sessions
        .query_one_raw(Statement::from_string(DbBackend::MySql, settings))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.try_get_by_index::<String>(0).unwrap(), "+00:00 1 10 5 1");
    database.close().await.unwrap();
}

#[tokio::test]
async fn texts_that_differ_in_case_accents_or_a_space_are_different_keys() {
    for database in TestDatabase::every().await.unwrap() {
        for email in ["a", "A", "a ", "ä", "a\u{308}"] {
            let user = user::Model {
                id: Uuid::new_v4(),
                email: email.into(),
                password_hash: PasswordHash("$argon2id$".into()),
                name: "Ada".into(),
                role: UserRole::User,
                email_verified_at: None,
                tier: "free".into(),
                created_at: 0,
                updated_at: 0,
            };
            let inserted = user.into_active_model().reset_all().insert(database.connection());
            assert_eq!(inserted.await.unwrap().email, email);
        }
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_whose_connection_breaks_half_way_is_done_on_another() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let store = store(&database).await;
        let key = counter(account(&store).await);
        let first = holder();
        store.lease(&ask(first, 1, &key, 10, 1)).await.unwrap();
        let holding = database.connection().begin().await.unwrap();
        holding
            .execute_unprepared("UPDATE quota_counters SET used = used")
            .await
            .unwrap();
        let waiting = {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move { store.lease(&ask(first, 2, &key, 10, 4)).await })
        };
        end_those_that_wait(database.connection()).await;
        holding.rollback().await.unwrap();
        let grant = waiting.await.unwrap().unwrap();
        assert_eq!((grant.granted.get(), grant.balance.leased.get()), (4, 5));
        database.close().await.unwrap();
    }
}

/// As a process does that is stopped in mid-transaction, or whose host is lost: it holds what it has locked, and is silent.
const HELD: [&str; 2] = [
    "UPDATE quota_counters SET used = used; SELECT pg_advisory_xact_lock(29393439336785252)",
    "UPDATE quota_counters SET used = used; SELECT id FROM key_changes_lock WHERE id = 1 FOR UPDATE",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_whose_process_is_silent_is_ended_and_others_go_on() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let store = SeaOrmStore::connect(database.url()).await.unwrap();
        let account = account(&store).await;
        let (key, first, second) = (counter(account), holder(), new_key(account));
        store.lease(&ask(first, 1, &key, 10, 1)).await.unwrap();
        store.insert(&second).await.unwrap();

        let options = Options {
            transaction_idle_timeout: Duration::from_secs(3),
            ..Options::default()
        };
        let silent = connect::connect(database.url(), &options).await.unwrap();
        let silent = silent.begin().await.unwrap();
        let is_postgres = database.connection().get_database_backend() == DbBackend::Postgres;
        let held = if is_postgres { HELD[0] } else { HELD[1] };
        silent.execute_unprepared(held).await.unwrap();

        // The engine gives up and asks anew after two seconds.
        let again = ask(first, 2, &key, 10, 4);
        let lease = tokio::time::timeout(Duration::from_millis(1_900), store.lease(&again)).await;
        let error = lease.unwrap().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        let leased = async { while store.lease(&again).await.is_err() {} };
        let others = async { tokio::join!(leased, store.revoke(account, second.id, NOW)) };
        let (_, revoked) = tokio::time::timeout(Duration::from_secs(20), others)
            .await
            .expect("others go on");
        assert!(revoked.unwrap().is_some());
        let balance = store.balances(&[key]).await.unwrap();
        assert_eq!(balance[0].leased.get(), 5);

        // When it comes to life again, all that it did is undone, and it is told.
        let late = silent
            .execute_unprepared("UPDATE quota_counters SET used = 10")
            .await;
        assert_eq!(kind_of(&late.unwrap_err()), StoreErrorKind::Unavailable);
        assert!(silent.commit().await.is_err());
        database.close().await.unwrap();
    }
}
