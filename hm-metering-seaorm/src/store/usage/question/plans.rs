//! Each question is answered through an index, and reads nothing that lies outside its range.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use hm_metering::id::IdSource;
use hm_metering::page::PageRequest;
use hm_metering::usage::{
    ActiveSpan, Batch, BatchId, Event, Facet, Grain, Outcome, UsageQuery, UsageSink, UsageStore,
};
use hm_metering::{AccountId, EventId, MeterName, OperationName, ReplicaId, Timestamp, Units};
use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryTrait, Statement};

use super::tile::tile;
use super::{recent, times, top, totals};
use crate::SeaOrmStore;
use crate::store::operator::activity;
use crate::testing::TestDatabase;

/// 2026-11-22T00:00:00Z
const START: i64 = 1_795_305_600_000_000;
const HOUR: i64 = 3_600_000_000;

/// An id that was made at a moment.
fn id_at(at: i64) -> Uuid {
    let ids = IdSource::from_os().unwrap();
    ids.next(Timestamp::from_micros(at))
}

fn event(account: AccountId, at: i64) -> Event {
    Event {
        id: EventId::from_uuid(id_at(at)),
        at: Timestamp::from_micros(at),
        account,
        user: None,
        key: Some(Uuid::from_u128(9).into()),
        operation: OperationName::from_static("data.query"),
        endpoint: "/api/v1/data".into(),
        method: "GET".into(),
        source: Some("wiki".into()),
        status: 200,
        grpc_status: None,
        outcome: Outcome::Completed,
        refusal: None,
        would_refuse: None,
        units: vec![
            (MeterName::REQUESTS, Units::ONE),
            (MeterName::from_static("tokens"), Units::new(5)),
        ],
        over: false,
        response_time_us: 1_500,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: "r".to_owned(),
        replica: ReplicaId::from_uuid(Uuid::from_u128(7)),
        tags: Vec::new(),
    }
}

async fn record(store: &SeaOrmStore, events: Vec<Event>) {
    let id = BatchId {
        replica: ReplicaId::from_uuid(Uuid::new_v4()),
        epoch: 1,
        number: 1,
    };
    let batch = Batch {
        id,
        created_at: Timestamp::from_micros(START),
        events,
        settlements: Vec::new(),
    };
    store.record(&batch).await.unwrap();
}

/// So many events of an account, evenly over some hours.
fn over_hours(account: AccountId, first: i64, hours: i64, number: i64) -> Vec<Event> {
    (0..number)
        .map(|place| event(account, START + first * HOUR + hours * HOUR * place / number + 1))
        .collect()
}

fn questions(backend: DbBackend, account: AccountId) -> Vec<(String, Statement)> {
    let at = |micros| Timestamp::from_micros(micros);
    // Neither end is where anything begins.
    let query = UsageQuery::new(account, at(START + HOUR + 90_500_000), at(START + 60 * HOUR + 7));
    let keyed = query.clone().of_key(Uuid::from_u128(9).into());
    let mut all = Vec::new();
    for query in [&query, &keyed] {
        for by in [None, Some(Grain::Minute), Some(Grain::Hour), Some(Grain::Day)] {
            let statements = totals::statements(backend, query, by).unwrap();
            all.extend(statements.map(|statement| (format!("sums by {by:?}"), statement)));
        }
        for facet in [
            Facet::Key,
            Facet::Endpoint,
            Facet::Operation,
            Facet::Source,
            Facet::StatusClass,
        ] {
            let statement = top::statement(backend, query, facet, 10).unwrap().unwrap();
            all.push((format!("top by {facet:?}"), statement));
        }
        for piece in tile(query.from.as_micros(), query.to.as_micros(), Grain::Day) {
            all.push((
                format!("times of {piece:?}"),
                times::statement(backend, query, piece),
            ));
        }
        for cursor in [
            None,
            Some("events.1795400000000000.00000000000000000000000000000009"),
        ] {
            let page = PageRequest {
                limit: 10,
                cursor: cursor.map(str::to_owned),
            };
            let statement = recent::select(query, &page).unwrap().build(backend);
            all.push(("recent events".to_owned(), statement));
        }
    }
    for span in [ActiveSpan::Day, ActiveSpan::Week] {
        let statement = activity::statement(backend, (query.from, query.to), span);
        all.push((format!("active accounts by {span:?}"), statement));
    }
    all
}

fn explained(how: &str, statement: &Statement) -> Statement {
    Statement {
        sql: format!("{how} {}", statement.sql),
        ..statement.clone()
    }
}

#[tokio::test]
async fn sqlite_searches_an_index_for_every_question() {
    let database = TestDatabase::sqlite().await.unwrap();
    let store = SeaOrmStore::connect(database.url()).await.unwrap();
    let account = AccountId::from_uuid(Uuid::new_v4());
    record(&store, over_hours(account, 0, 72, 500)).await;
    let db = database.connection();
    for (name, statement) in questions(DbBackend::Sqlite, account) {
        let rows = db
            .query_all_raw(explained("EXPLAIN QUERY PLAN", &statement))
            .await
            .unwrap();
        let steps: Vec<String> = rows
            .iter()
            .map(|row| row.try_get("", "detail").unwrap())
            .collect();
        let searches = steps
            .iter()
            .filter(|step| step.starts_with("SEARCH usage_"))
            .count();
        assert!(searches > 0, "{name}: {steps:#?}");
        for step in &steps {
            assert!(!step.starts_with("SCAN usage_"), "{name}: {steps:#?}");
            if step.starts_with("SEARCH usage_") {
                let bounded = ["account_id=?", "day_start>?"]
                    .iter()
                    .any(|bound| step.contains(bound));
                assert!(step.contains("INDEX") && bounded, "{name}: {step}");
            }
        }
    }
    database.close().await.unwrap();
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use sea_orm::TransactionTrait;
    use serde_json::Value as Json;

    use super::*;

    /// The nodes of a plan that read one of our tables.
    fn scans<'a>(plan: &'a Json, found: &mut Vec<&'a Json>) {
        if plan["Relation Name"]
            .as_str()
            .is_some_and(|name| name.starts_with("usage_"))
        {
            found.push(plan);
        }
        for below in plan["Plans"].as_array().into_iter().flatten() {
            scans(below, found);
        }
    }

    /// Runs a question and answers its plan.
    async fn plan(db: &DatabaseConnection, statement: &Statement) -> Json {
        let how = "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, FORMAT JSON)";
        let transaction = db.begin().await.unwrap();
        // The table of active days has a handful of rows here, which nobody would look for in an index.
        if statement.sql.contains("usage_active_days") {
            let off = "SET LOCAL enable_seqscan = off";
            transaction.execute_unprepared(off).await.unwrap();
        }
        let answer = transaction.query_one_raw(explained(how, statement)).await;
        let row = answer.unwrap().unwrap();
        transaction.commit().await.unwrap();
        let plan: Json = row.try_get("", "QUERY PLAN").unwrap();
        plan[0]["Plan"].clone()
    }

    /// How many rows a plan read from tables, those included that it then left out.
    fn rows_read(plan: &Json) -> f64 {
        let mut found = Vec::new();
        scans(plan, &mut found);
        found.into_iter().map(rows_of).sum()
    }

    fn rows_of(scan: &Json) -> f64 {
        let of = |name: &str| scan[name].as_f64().unwrap_or(0.0);
        let read = of("Actual Rows") + of("Rows Removed by Filter") + of("Rows Removed by Index Recheck");
        read * of("Actual Loops")
    }

    #[tokio::test]
    async fn every_question_uses_an_index_and_reads_no_more_when_there_is_more_outside_its_range() {
        let Some(database) = TestDatabase::postgres().await.unwrap() else {
            return;
        };
        let store = SeaOrmStore::connect(database.url()).await.unwrap();
        uses_an_index_and_reads_no_more(&database, &store).await;
        database.close().await.unwrap();
    }

    #[tokio::test]
    async fn the_same_holds_when_the_months_of_the_ledger_are_apart() {
        let Some(database) = TestDatabase::postgres().await.unwrap() else {
            return;
        };
        let store = SeaOrmStore::connect(database.url()).await.unwrap();
        for days in [-90, 0] {
            let month = Timestamp::from_micros(START + days * 24 * HOUR);
            crate::operator::make_partitions(&store, month).await.unwrap();
        }
        uses_an_index_and_reads_no_more(&database, &store).await;
        database.close().await.unwrap();
    }

    async fn uses_an_index_and_reads_no_more(database: &TestDatabase, store: &SeaOrmStore) {
        let account = AccountId::from_uuid(Uuid::new_v4());
        record(store, over_hours(account, 0, 72, 2_000)).await;
        let db = database.connection();
        let mut before = Vec::new();
        for round in 0..2 {
            db.execute_unprepared("ANALYZE").await.unwrap();
            for (place, (name, statement)) in questions(DbBackend::Postgres, account).iter().enumerate() {
                let plan = plan(db, statement).await;
                let mut found = Vec::new();
                scans(&plan, &mut found);
                assert!(!found.is_empty(), "{name}: {plan:#}");
                if round == 0 {
                    before.push(rows_read(&plan));
                    continue;
                }
                for scan in &found {
                    let node = scan["Node Type"].as_str().unwrap();
                    // A month without events is read whole at no cost.
                    let is_empty = rows_of(scan) < 1.0;
                    assert!(
                        node.starts_with("Index") || node.starts_with("Bitmap Heap") || is_empty,
                        "{name}: {plan:#}"
                    );
                }
                // With few accounts the optimiser may read the minutes at the ends, or the first page, through the index by
                // time alone. That is a matter of some rows, and there are 60,000 more.
                if !name.starts_with("active") {
                    assert!(
                        rows_read(&plan) <= before[place] + 100.0,
                        "{name}: {} rows, and {} before: {plan:#}",
                        rows_read(&plan),
                        before[place]
                    );
                }
            }
            if round == 0 {
                // Twenty times as much before and after the range, and in another account within it.
                for (who, first) in [
                    (account, -2_000),
                    (account, 100),
                    (AccountId::from_uuid(Uuid::new_v4()), 0),
                ] {
                    for part in 0..2 {
                        record(store, over_hours(who, first + part * 72, 72, 10_000)).await;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn late_events_are_summed_up_in_the_minute_they_belong_to() {
    for database in TestDatabase::every().await.unwrap() {
        let store = SeaOrmStore::connect(database.url()).await.unwrap();
        let account = AccountId::from_uuid(Uuid::new_v4());
        record(&store, over_hours(account, 0, 48, 300)).await;
        let late = over_hours(account, 3, 1, 7);
        record(&store, late.clone()).await;
        let hour = UsageQuery::new(
            account,
            Timestamp::from_micros(START + 3 * HOUR),
            Timestamp::from_micros(START + 4 * HOUR),
        );
        let listed = store
            .recent(&hour, &PageRequest::first(1_000))
            .await
            .unwrap()
            .items;
        assert!(late.iter().all(|event| listed.contains(event)));
        let totals = store.totals(&hour).await.unwrap();
        assert_eq!(totals.requests, listed.len() as u64);
        database.close().await.unwrap();
    }
}
