//! MariaDB and MySQL commit each change of a table by itself. A step that is broken off anywhere can be done again there.

use std::time::Duration;

use hm_metering::usage::{Batch, Event, UsageQuery, UsageTotals};
use hm_metering::{AccountId, MeterName, Timestamp, UsageSink, UsageStore};
use hm_metering_seaorm::connect::connect;
use hm_metering_seaorm::operator::{self, PeriodSummary};
use hm_metering_seaorm::sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait,
};
use hm_metering_seaorm::sea_orm_migration::MigratorTrait;
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, Options, SeaOrmStore, migration};

use crate::cutter::Cutter;
use crate::fixtures::{account, batch, counter, event, holder, later, settlement, store};

/// The steps that make the rollups and close summaries.
const CLOSING: &str = "closed_summaries";
const ROLLUPS: &str = "rollups";

/// How many steps it takes from the last one back, until that of this name is taken back too.
fn back_to(name: &str) -> u32 {
    let steps = migration::migrations();
    let place = steps.iter().position(|step| step.name().ends_with(name)).unwrap();
    u32::try_from(steps.len() - place).unwrap()
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Up,
    Down,
}

async fn step(db: &DatabaseConnection, way: Way, steps: u32) -> bool {
    match way {
        Way::Up => Migrator::up(db, Some(steps)).await.is_ok(),
        Way::Down => migration::down::<Migrator>(db, steps).await.is_ok(),
    }
}

/// Takes steps, is broken off after so many changes, and takes them again. Answers whether it was broken off at all.
async fn step_twice(database: &TestDatabase, way: Way, steps: u32, changes: usize) -> bool {
    let applied = applied(database).await;
    let cutter = Cutter::after(changes, database).await;
    let through = connect(&cutter.url(database), &Options::default()).await.unwrap();
    let went_well = step(&through, way, steps).await;
    through.close().await.unwrap();
    assert_ne!(went_well, cutter.has_cut());
    if cutter.has_cut() {
        let done = self::applied(database).await.abs_diff(applied);
        let left = steps - u32::try_from(done).unwrap();
        if left > 0 {
            assert!(
                step(database.connection(), way, left).await,
                "after {changes} changes"
            );
        }
    }
    cutter.has_cut()
}

async fn applied(database: &TestDatabase) -> usize {
    let db = database.connection();
    Migrator::get_applied_migrations(db).await.unwrap().len()
}

/// Every table as the server describes it.
async fn schema(database: &TestDatabase) -> Vec<String> {
    let mut schema = Vec::new();
    for table in strings(database, "SHOW TABLES", 0).await {
        schema.extend(strings(database, &format!("SHOW CREATE TABLE {table}"), 1).await);
    }
    schema
}

async fn strings(database: &TestDatabase, sql: &str, column: usize) -> Vec<String> {
    let statement = Statement::from_string(DbBackend::MySql, sql);
    let rows = database.connection().query_all_raw(statement).await.unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(column).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_that_is_broken_off_after_any_change_can_be_taken_again() {
    let Some(database) = TestDatabase::empty_mysql().await.unwrap() else {
        return;
    };
    Migrator::install(database.connection()).await.unwrap();
    for migration in migration::migrations() {
        let name = migration.name();
        let before = schema(&database).await;
        assert!(step(database.connection(), Way::Up, 1).await, "{name}");
        let after = schema(&database).await;
        for changes in 0.. {
            let down = step_twice(&database, Way::Down, 1, changes).await;
            assert_eq!(schema(&database).await, before, "{name} down after {changes}");
            let up = step_twice(&database, Way::Up, 1, changes).await;
            assert_eq!(schema(&database).await, after, "{name} up after {changes}");
            if !down && !up {
                break;
            }
        }
    }
    database.close().await.unwrap();
}

/// An account with a closed period that something came late for.
async fn closed(store: &SeaOrmStore) -> AccountId {
    let account = account(store).await;
    let key = counter(account);
    let of = |number, events: i64, now: Timestamp| {
        let events = (0..events)
            .map(|place| Event {
                at: later(place * 977),
                ..event(account, None)
            })
            .collect::<Vec<_>>();
        let units = u32::try_from(events.len()).unwrap();
        Batch {
            created_at: now,
            ..batch(holder(), number, events, vec![settlement(&key, None, units)])
        }
    };
    store.record(&of(1, 30, later(0))).await.unwrap();
    let closing = later(3 * 86_400);
    let closed = operator::close_periods(store, closing, operator::CLOSING_GRACE, 10).await;
    assert!(closed.unwrap() > 0);
    store.record(&of(1, 5, closing)).await.unwrap();
    account
}

async fn seen(store: &SeaOrmStore, account: AccountId) -> (UsageTotals, Vec<(u64, u64)>) {
    let query = UsageQuery::new(account, later(-86_400), later(86_400));
    let all = (Timestamp::MIN, Timestamp::MAX);
    let summaries = operator::summaries(store, account, &MeterName::REQUESTS, all).await;
    let corrected = |summary: &PeriodSummary| {
        let late: i64 = summary.corrections.iter().map(|one| one.count).sum();
        let count = summary.count.saturating_add_signed(late);
        (count, summary.corrected().get())
    };
    let totals = store.totals(&query).await.unwrap();
    (totals, summaries.unwrap().iter().map(corrected).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_late_for_a_closed_period_is_added_once_however_often_the_way_back_is_broken_off() {
    let Some(database) = TestDatabase::mysql().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    for changes in 0.. {
        let account = closed(&store).await;
        let expected = seen(&store, account).await;
        assert_eq!(expected.1, [(35, 35)]);
        let cut = step_twice(&database, Way::Down, back_to(CLOSING), changes).await;
        assert!(step(database.connection(), Way::Up, back_to(CLOSING)).await);
        assert_eq!(seen(&store, account).await, expected, "after {changes} changes");
        if !cut {
            break;
        }
    }
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_late_is_added_once_when_the_way_back_had_to_wait_for_somebody_in_vain() {
    let Some(database) = TestDatabase::mysql().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    let account = closed(&store).await;
    let expected = seen(&store, account).await;
    let impatient = Options {
        statement_timeout: Duration::from_millis(500),
        ..Options::default()
    };
    let impatient = connect(database.url(), &impatient).await.unwrap();
    for _ in 0..2 {
        let reading = database.connection().begin().await.unwrap();
        let read = Statement::from_string(DbBackend::MySql, "SELECT COUNT(*) FROM usage_corrections");
        reading.query_one_raw(read).await.unwrap();
        assert!(!step(&impatient, Way::Down, back_to(CLOSING)).await);
        reading.rollback().await.unwrap();
    }
    let left = applied(&database).await - (migration::migrations().len() - back_to(CLOSING) as usize);
    assert!(step(&impatient, Way::Down, u32::try_from(left).unwrap()).await);
    impatient.close().await.unwrap();
    assert!(step(database.connection(), Way::Up, back_to(CLOSING)).await);
    assert_eq!(seen(&store, account).await, expected);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_summed_up_once_however_often_that_is_broken_off() {
    let Some(database) = TestDatabase::mysql().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    let account = closed(&store).await;
    let (expected, _) = seen(&store, account).await;
    for changes in 0.. {
        assert!(step(database.connection(), Way::Down, back_to(ROLLUPS)).await);
        let cut = step_twice(&database, Way::Up, 1, changes).await;
        assert!(step(database.connection(), Way::Up, back_to(ROLLUPS) - 1).await);
        assert_eq!(seen(&store, account).await.0, expected, "after {changes} changes");
        if !cut {
            break;
        }
    }
    database.close().await.unwrap();
}
