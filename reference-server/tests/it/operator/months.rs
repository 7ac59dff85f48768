//! The ledger's months on PostgreSQL: who makes them, and who waits for that.

use std::sync::Arc;
use std::time::Duration;

use hm_metering::Timestamp;
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::testing::TestDatabase;
use hm_server::app::App;
use hm_server::cli::Command;
use hm_server::jobs;
use hm_server::metrics::Metrics;
use hm_server::secrets::Secrets;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement, TransactionTrait};

use super::place::{FixedClock, NOON, Place, config_at};
use super::{CHECK, use_some};

const AHEAD: [&str; 3] = [
    "usage_events_2026_11",
    "usage_events_2026_12",
    "usage_events_2027_01",
];

async fn on_postgres() -> Option<Place> {
    let server = TestDatabase::empty_postgres().await.unwrap()?;
    let folder = tempfile::tempdir().unwrap();
    let config = config_at(server.url(), folder.path());
    let place = Place {
        folder,
        config,
        server: Some(server),
    };
    place.run(Command::MigrateUp).await.unwrap();
    Some(place)
}

async fn rows(store: &SeaOrmStore, sql: &str) -> Vec<QueryResult> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    store.connection().query_all_raw(statement).await.unwrap()
}

/// The months that events have tables for.
async fn months(store: &SeaOrmStore) -> Vec<String> {
    let months = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                  WHERE inhparent = CAST('usage_events' AS regclass) AND relname LIKE '%\\_20%' ORDER BY 1";
    let name = |row: &QueryResult| row.try_get_by_index(0).unwrap();
    rows(store, months).await.iter().map(name).collect()
}

async fn drop_months(store: &SeaOrmStore) {
    for month in months(store).await {
        let drop = format!("DROP TABLE {month}");
        store.connection().execute_unprepared(&drop).await.unwrap();
    }
}

/// Somebody who writes to the ledger and does not end, so that no month can be made.
async fn writer(store: &SeaOrmStore) -> DatabaseTransaction {
    let writer = store.connection().begin().await.unwrap();
    // It is busy, and not one that was stopped.
    let busy = "SET LOCAL idle_in_transaction_session_timeout = 0";
    writer.execute_unprepared(busy).await.unwrap();
    let lock = "LOCK TABLE ONLY usage_events IN ROW EXCLUSIVE MODE";
    writer.execute_unprepared(lock).await.unwrap();
    writer
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    waited.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn months_are_made_ahead_by_migrating_and_old_ones_are_dropped() {
    let Some(place) = on_postgres().await else {
        return;
    };
    let store = place.store().await;
    assert_eq!(months(&store).await, AHEAD);
    let drop = "DROP TABLE usage_events_2026_12";
    store.connection().execute_unprepared(drop).await.unwrap();
    place.run(Command::MigrateUp).await.unwrap();
    assert_eq!(months(&store).await, AHEAD);

    let account = place.account().await;
    let august = Timestamp::from_micros(NOON.as_micros() - 100 * 86_400_000_000);
    hm_metering_seaorm::operator::make_partitions(&store, august)
        .await
        .unwrap();
    use_some(&store, account, 1).await;
    let prune = Command::Prune {
        keep_days: 30,
        keep_minutes_days: None,
    };
    let (_, said) = place.run(prune).await.unwrap();
    assert!(said.contains("dropped 2 partitions"), "{said}");
    assert!(said.contains("removed 0 events"), "{said}");
    assert_eq!(months(&store).await[0], "usage_events_2026_10");
    let (_, said) = place.run(CHECK).await.unwrap();
    assert!(said.contains("0 differences"), "{said}");
    place.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_and_records_while_no_month_can_be_made_and_makes_them_later() {
    let Some(place) = on_postgres().await else {
        return;
    };
    let (store, account) = (place.store().await, place.account().await);
    drop_months(&store).await;
    let writer = writer(&store).await;

    let secrets = Secrets::resolve(&place.config).unwrap();
    let (_, metrics) = Metrics::new().unwrap();
    let starting = App::start(
        place.config.clone(),
        &secrets,
        Arc::new(FixedClock(NOON)),
        metrics,
    );
    // Trying in vain to make a month takes longer.
    let starting = tokio::time::timeout(Duration::from_secs(6), starting).await;
    let app = starting.expect("the start waits for nobody").unwrap();
    let jobs = tokio::spawn(jobs::run(app.clone()));
    until("nobody makes months", async || {
        let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                     AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE ONLY usage_events%'";
        !rows(&store, waits).await.is_empty()
    })
    .await;
    use_some(app.store(), account, 1).await;
    let recorded = "SELECT id FROM usage_events_default";
    assert!(!rows(&store, recorded).await.is_empty());
    assert_eq!(months(&store).await, [""; 0]);

    writer.rollback().await.unwrap();
    until("no months are made", async || months(&store).await == AHEAD).await;
    jobs.abort();
    app.shutdown().await.unwrap();
    place.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrating_says_when_a_month_could_not_be_made_and_goes_well() {
    let Some(place) = on_postgres().await else {
        return;
    };
    let store = place.store().await;
    drop_months(&store).await;
    let writer = writer(&store).await;
    let (_, said) = place.run(Command::MigrateUp).await.unwrap();
    assert!(
        said.contains("the months of the ledger can't be made now"),
        "{said}"
    );
    assert!(!said.contains("pending"), "{said}");
    writer.rollback().await.unwrap();
    let (_, said) = place.run(Command::MigrateUp).await.unwrap();
    assert!(!said.contains("can't be made"), "{said}");
    assert_eq!(months(&store).await, AHEAD);
    place.finish().await;
}

#[tokio::test]
async fn an_operator_can_have_more_months_made() {
    let Some(place) = on_postgres().await else {
        return;
    };
    let store = place.store().await;
    let (_, said) = place.run(Command::MigrateMonths(12)).await.unwrap();
    assert!(said.contains("made 10 months of the ledger"), "{said}");
    assert_eq!(months(&store).await.last().unwrap(), "usage_events_2027_11");
    place.finish().await;
    let elsewhere = Place::on_sqlite().await;
    let (_, said) = elsewhere.run(Command::MigrateMonths(12)).await.unwrap();
    assert!(said.contains("made 0 months of the ledger"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_command_waits_longer_than_requests_may() {
    let Some(mut place) = on_postgres().await else {
        return;
    };
    let (store, account) = (place.store().await, place.account().await);
    use_some(&store, account, 1).await;
    place.config.database.statement_timeout = Duration::from_millis(200);
    place.config.database.operation_timeout = Duration::from_millis(200);
    let held = store.connection().begin().await.unwrap();
    let lock = "UPDATE usage_events SET units = units";
    held.execute_unprepared(lock).await.unwrap();
    let prune = Command::Prune {
        keep_days: 0,
        keep_minutes_days: None,
    };
    let (pruned, ()) = tokio::join!(place.run(prune), async {
        until("nobody waits for long", async || {
            let waits = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                         AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > interval '500 ms'";
            !rows(&store, waits).await.is_empty()
        })
        .await;
        held.rollback().await.unwrap();
    });
    let (_, said) = pruned.unwrap();
    assert!(said.contains("removed "), "{said}");
    place.finish().await;
}
