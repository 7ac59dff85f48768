//! Months that would cost too much, and what their operator is told.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use sea_orm::ConnectionTrait;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;
use crate::testing::TestDatabase;

/// Takes note of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<String>>);

impl Visit for &Warnings {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock().unwrap(), "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// 22 November 2026.
const NOW: Timestamp = Timestamp::from_micros(1_795_327_200_000_000);

async fn in_part(store: &SeaOrmStore, part: &str) -> i64 {
    let count = format!("SELECT COUNT(*) AS number FROM {part}");
    let count = Statement::from_string(DbBackend::Postgres, count);
    let row = store.connection().query_one_raw(count).await.unwrap().unwrap();
    row.try_get("", "number").unwrap()
}

#[tokio::test]
async fn a_month_that_would_cost_too_much_is_left_to_the_operator_who_is_told_how_to_make_it() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let store = SeaOrmStore::new(database.connection().clone());
    let first = Month::of(NOW).first_id().to_string();
    let insert = format!(
        "INSERT INTO usage_events (id, account_id, operation, endpoint, method, status, outcome, units, response_time_ms, \
         response_time_us, request_id, created_at) SELECT CAST('{}' || number AS uuid), CAST('{first}' AS uuid), \
         'data.query', '/', 'GET', 200, 'completed', 1, 1, 1000, '', 0 FROM generate_series(1, 3) AS number",
        &first[..35]
    );
    store.connection().execute_unprepared(&insert).await.unwrap();
    let costs = [
        Cost {
            read_max: Some(1),
            ..Cost::SMALL
        },
        Cost {
            moved_max: Some(2),
            ..Cost::SMALL
        },
    ];
    for (cost, made) in costs.into_iter().zip([0, 2]) {
        let warnings = Warnings::default();
        let here = tracing::subscriber::set_default(warnings.clone());
        assert_eq!(make(&store, NOW, AHEAD, cost).await.unwrap(), made);
        drop(here);
        let said = warnings.0.lock().unwrap().clone();
        for part in [
            "usage_events_2026_11",
            "`hm-server migrate months`",
            "operator::make_months",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert_eq!(in_part(&store, "usage_events_default").await, 3);
    }

    assert_eq!(make_months(&store, NOW, 5).await.unwrap(), 4);
    assert_eq!(in_part(&store, "usage_events_default").await, 0);
    assert_eq!(in_part(&store, "usage_events_2026_11").await, 3);
    assert_eq!(in_part(&store, "usage_events_2027_04").await, 0);
    database.close().await.unwrap();
}
