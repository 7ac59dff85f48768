//! The ledger in parts by month, on PostgreSQL.

mod making;
mod migrating;
mod removing;

use std::time::Duration;

use hm_metering::id::IdSource;
use hm_metering::page::PageRequest;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{AccountId, EventId, Timestamp, UsageSink, UsageStore};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{batch, event, holder, later};

const DAY: i64 = 86_400;

/// A moment in the days since 22 November 2026.
fn day(days: i64) -> Timestamp {
    later(days * DAY)
}

/// An event whose id was made at the same time.
fn made_at(account: AccountId, at: Timestamp) -> Event {
    let ids = IdSource::from_os().unwrap();
    Event {
        id: EventId::from_uuid(ids.next(at)),
        at,
        ..event(account, None)
    }
}

fn someone() -> AccountId {
    AccountId::from_uuid(Uuid::new_v4())
}

async fn record(store: &SeaOrmStore, events: &[Event]) {
    let batch = batch(holder(), 1, events.to_vec(), Vec::new());
    store.record(&batch).await.unwrap();
}

fn all_of(account: AccountId) -> UsageQuery {
    UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX)
}

async fn listed(store: &SeaOrmStore, account: AccountId) -> Vec<Event> {
    let page = PageRequest::first(1_000);
    let page = store.recent(&all_of(account), &page).await.unwrap();
    assert!(page.next.is_none());
    page.items
}

fn newest_first(events: &[Event]) -> Vec<Event> {
    let mut events = events.to_vec();
    events.sort_by_key(|event| std::cmp::Reverse((event.at, event.id)));
    events
}

/// The parts, by name, with how many events each has.
async fn parts(db: &DatabaseConnection) -> Vec<(String, i64)> {
    let names = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                 WHERE inhparent = CAST('usage_events' AS regclass) ORDER BY 1";
    let mut parts = Vec::new();
    for row in rows(db, names).await {
        let name: String = row.try_get_by_index(0).unwrap();
        let count = format!("SELECT count(*) FROM {name}");
        let count = rows(db, &count).await[0].try_get_by_index(0).unwrap();
        parts.push((name, count));
    }
    parts
}

async fn rows(db: &DatabaseConnection, sql: &str) -> Vec<hm_metering_seaorm::sea_orm::QueryResult> {
    let statement = Statement::from_string(DbBackend::Postgres, sql);
    db.query_all_raw(statement).await.unwrap()
}

/// Waits until someone waits for a lock with a statement that begins so.
pub async fn someone_waits(db: &DatabaseConnection, statement: &str) {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
         AND query LIKE '{statement}%'"
    );
    let waits = async {
        while rows(db, &sql).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waits = tokio::time::timeout(Duration::from_secs(20), waits).await;
    waits.unwrap_or_else(|_| panic!("nobody waits with {statement}"));
}

async fn differences(store: &SeaOrmStore) -> Vec<String> {
    let mut found = Vec::new();
    operator::check(store, |difference| found.push(difference.to_string()))
        .await
        .unwrap();
    found
}

#[tokio::test]
async fn other_databases_have_no_parts_and_prune_all_the_same() {
    let mut databases = vec![TestDatabase::sqlite().await.unwrap()];
    databases.extend(TestDatabase::mysql().await.unwrap());
    for database in databases {
        let store = crate::fixtures::store(&database).await;
        let account = someone();
        let events = [-9, -8, -7, 0].map(|days| made_at(account, day(days)));
        record(&store, &events).await;
        assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 0);
        let pruned = operator::prune_events(&store, day(-1), 2).await.unwrap();
        assert_eq!((pruned.partitions, pruned.events), (0, 3));
        assert_eq!(listed(&store, account).await, newest_first(&events[3..]));
        database.close().await.unwrap();
    }
}
