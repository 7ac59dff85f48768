//! Who changes the schema, while others want to.

#![expect(
    elided_lifetimes_in_paths,
    reason = "`MigrationTrait` elides the lifetime of the manager, and an implementation must match"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hm_metering_seaorm::migration::{self, MigrateError, must_be_current, up};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr};
use hm_metering_seaorm::sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, Options, SeaOrmStore, connect};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::traces::Everything;

/// Less than each of the steps and waits in these tests take.
fn impatient() -> Options {
    Options {
        statement_timeout: Duration::from_millis(300),
        lock_timeout: Duration::from_millis(300),
        ..Options::default()
    }
}

async fn open(database: &TestDatabase, options: &Options) -> DatabaseConnection {
    connect::connect(database.url(), options).await.unwrap()
}

/// A step that takes the time that a great table takes.
struct Long;

impl MigrationName for Long {
    fn name(&self) -> &'static str {
        "m20990101_000001_long"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Long {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let sleep = match db.get_database_backend() {
            DbBackend::Postgres => "SELECT pg_sleep(1)",
            _ => "SELECT SLEEP(1)",
        };
        db.execute_unprepared(sleep).await.map(drop)
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

struct WithLong;

impl MigratorTrait for WithLong {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Long)]
    }
}

/// A step that goes on when it is told to.
struct Gated {
    gate: &'static Gate,
}

struct Gate {
    begun: Semaphore,
    open: Semaphore,
    times: AtomicU64,
}

impl Gate {
    const fn shut() -> Self {
        Self {
            begun: Semaphore::const_new(0),
            open: Semaphore::const_new(0),
            times: AtomicU64::new(0),
        }
    }
}

impl MigrationName for Gated {
    fn name(&self) -> &'static str {
        "m20990101_000001_gated"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Gated {
    async fn up(&self, _: &SchemaManager) -> Result<(), DbErr> {
        self.gate.times.fetch_add(1, Ordering::Relaxed);
        self.gate.begun.add_permits(1);
        drop(self.gate.open.acquire().await);
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// Begins to take a step of `M`, and comes back when it has been begun.
async fn begin<M: MigratorTrait>(
    db: DatabaseConnection,
    gate: &'static Gate,
) -> JoinHandle<Result<(), MigrateError>> {
    let task = tokio::spawn(async move { up::<M>(&db).await });
    let begun = tokio::time::timeout(Duration::from_secs(60), gate.begun.acquire()).await;
    begun.unwrap().unwrap().forget();
    task
}

async fn on_servers() -> Vec<TestDatabase> {
    let servers = [
        TestDatabase::empty_postgres().await,
        TestDatabase::empty_mysql().await,
    ];
    servers.into_iter().filter_map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_step_takes_longer_than_statements_may() {
    for database in on_servers().await {
        let db = open(&database, &impatient()).await;
        up::<WithLong>(&db).await.unwrap();
        must_be_current::<WithLong>(&db).await.unwrap();
        // The limit of others is as it was.
        let sleep = match db.get_database_backend() {
            DbBackend::Postgres => "SELECT pg_sleep(1)",
            _ => "SELECT SLEEP(1)",
        };
        db.execute_unprepared(sleep).await.unwrap_err();
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn one_connection_is_enough_to_migrate() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let options = Options {
            connections_max: 1,
            ..Options::default()
        };
        let store = SeaOrmStore::connect_with(database.url(), &options).await.unwrap();
        store.migrate().await.unwrap();
        store.migrate().await.unwrap();
        must_be_current::<Migrator>(store.connection()).await.unwrap();
        store.close().await.unwrap();
        database.close().await.unwrap();
    }
}

static WAITED_FOR: Gate = Gate::shut();

struct WaitedFor;

impl MigratorTrait for WaitedFor {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Gated { gate: &WAITED_FOR })]
    }
}

#[tokio::test]
async fn who_comes_second_waits_longer_than_statements_may_and_says_so() {
    for database in on_servers().await {
        let logged = Everything::default();
        let _here = tracing::subscriber::set_default(logged.clone());
        let first = begin::<WaitedFor>(open(&database, &impatient()).await, &WAITED_FOR).await;
        let db = open(&database, &impatient()).await;
        let second = tokio::spawn(async move { up::<WaitedFor>(&db).await });
        // More than three times as long as any of its statements may take.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!second.is_finished());
        let text = logged.text();
        assert!(text.contains("another process is changing the schema"), "{text}");
        assert!(!text.contains("session=\"unknown\""), "{text}");

        WAITED_FOR.open.add_permits(1);
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(WAITED_FOR.times.swap(0, Ordering::Relaxed), 1);
        WAITED_FOR.open.acquire().await.unwrap().forget();
        database.close().await.unwrap();
    }
}

static ELSEWHERE: Gate = Gate::shut();

struct Elsewhere;

impl MigratorTrait for Elsewhere {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(Gated { gate: &ELSEWHERE })]
    }
}

#[tokio::test]
async fn two_databases_on_one_server_don_t_wait_for_each_other() {
    for (one, other) in on_servers().await.into_iter().zip(on_servers().await) {
        let first = begin::<Elsewhere>(open(&one, &Options::default()).await, &ELSEWHERE).await;
        let second = open(&other, &Options::default()).await;
        let migrated = tokio::time::timeout(Duration::from_secs(60), up::<Migrator>(&second));
        migrated.await.unwrap().unwrap();
        assert!(!first.is_finished());
        ELSEWHERE.open.add_permits(1);
        first.await.unwrap().unwrap();
        ELSEWHERE.open.acquire().await.unwrap().forget();
        one.close().await.unwrap();
        other.close().await.unwrap();
    }
}

static STOPPED: Gate = Gate::shut();

struct Stopped;

impl MigratorTrait for Stopped {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut steps = migration::migrations();
        steps.push(Box::new(Gated { gate: &STOPPED }));
        steps
    }
}

#[tokio::test]
async fn a_process_that_is_stopped_in_a_step_does_not_stop_the_others() {
    let Some(database) = TestDatabase::empty_postgres().await.unwrap() else {
        return;
    };
    let options = Options {
        transaction_idle_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let stopped = begin::<Stopped>(open(&database, &options).await, &STOPPED).await;
    let db = open(&database, &Options::default()).await;
    let migrated = tokio::time::timeout(Duration::from_secs(60), up::<Migrator>(&db));
    migrated.await.unwrap().unwrap();
    must_be_current::<Migrator>(&db).await.unwrap();
    assert!(!stopped.is_finished());
    stopped.abort();
    database.close().await.unwrap();
}
