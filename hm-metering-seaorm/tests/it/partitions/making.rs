//! Parts are made ahead, by any number of replicas, beside those that record.

use hm_metering::{EventId, StoreErrorKind, UsageSink};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, Statement, TransactionTrait};

use super::*;
use crate::fixtures::store;

fn with_counts(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn events_are_in_the_part_of_their_month_whether_they_came_before_it_or_after() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    let db = database.connection();
    let mut events: Vec<Event> = [-21, 0, 8, 9, 80].map(|days| made_at(account, day(days))).into();
    events.push(event(account, None));
    record(&store, &events).await;
    assert_eq!(parts(db).await, with_counts(&[("usage_events_default", 6)]));

    assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 3);
    let expected = [
        ("usage_events_2026_11", 3),
        ("usage_events_2026_12", 1),
        ("usage_events_2027_01", 0),
        ("usage_events_default", 2),
    ];
    assert_eq!(parts(db).await, with_counts(&expected));
    assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 0);

    let more = [made_at(account, day(1)), made_at(account, day(50))];
    record(&store, &more).await;
    assert_eq!(operator::make_partitions(&store, day(10)).await.unwrap(), 1);
    let expected = [
        ("usage_events_2026_11", 4),
        ("usage_events_2026_12", 1),
        ("usage_events_2027_01", 1),
        ("usage_events_2027_02", 1),
        ("usage_events_default", 1),
    ];
    assert_eq!(parts(db).await, with_counts(&expected));
    events.extend(more);
    assert_eq!(listed(&store, account).await, newest_first(&events));
    assert_eq!(differences(&store).await, Vec::<String>::new());
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_second_event_of_an_id_is_a_conflict_in_whichever_part_the_first_is() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    operator::make_partitions(&store, day(0)).await.unwrap();
    let events = [
        made_at(account, day(0)),
        made_at(account, day(9)),
        event(account, None),
    ];
    record(&store, &events).await;
    for first in &events {
        // Its time may be of another month than its id: the same id is the same event all the same.
        for at in [first.at, day(40)] {
            let second = Event { at, ..first.clone() };
            let batch = batch(holder(), 1, vec![made_at(account, day(3)), second], Vec::new());
            let error = store.record(&batch).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error:?}");
        }
    }
    assert_eq!(listed(&store, account).await, newest_first(&events));
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_make_parts_at_the_same_time_make_each_once() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let mut making = Vec::new();
    for _ in 0..6 {
        let store = store(&database).await;
        making.push(tokio::spawn(async move {
            operator::make_partitions(&store, day(0)).await.unwrap()
        }));
    }
    let mut made = 0;
    for making in making {
        made += making.await.unwrap();
    }
    assert_eq!(made, 3);
    assert_eq!(parts(database.connection()).await.len(), 4);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_reads_for_long_keeps_parts_from_being_made_but_nobody_from_recording() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    let reading = database.connection().begin().await.unwrap();
    let read = "SELECT count(*) FROM usage_events";
    reading.execute_unprepared(read).await.unwrap();
    let making = {
        let store = store.clone();
        tokio::spawn(async move { operator::make_partitions(&store, day(0)).await })
    };
    someone_waits(database.connection(), "LOCK TABLE usage_events_default").await;
    let events: Vec<Event> = (0..5).map(|_| made_at(account, day(0))).collect();
    for event in &events {
        record(&store, std::slice::from_ref(event)).await;
    }
    assert!(!making.is_finished());
    reading.commit().await.unwrap();
    assert_eq!(making.await.unwrap().unwrap(), 3);
    assert_eq!(listed(&store, account).await, newest_first(&events));
    assert_eq!(parts(database.connection()).await[0].1, 5);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_writes_for_long_is_waited_for_some_seconds_only() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    let writing = database.connection().begin().await.unwrap();
    let lock = "LOCK TABLE ONLY usage_events IN ROW EXCLUSIVE MODE";
    writing.execute_unprepared(lock).await.unwrap();
    let making = operator::make_partitions(&store, day(0));
    let making = tokio::time::timeout(Duration::from_secs(60), making).await;
    let error = making.expect("it waits for ever").unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    record(&store, &[made_at(account, day(0))]).await;
    writing.rollback().await.unwrap();
    assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 3);
    database.close().await.unwrap();
}

#[tokio::test]
async fn no_part_is_made_while_somebody_changes_the_schema() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    let migrating = database.connection().begin().await.unwrap();
    let turn = "SELECT pg_advisory_xact_lock(29393439554798960)";
    migrating.execute_unprepared(turn).await.unwrap();
    let error = operator::make_partitions(&store, day(0)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert_eq!(parts(database.connection()).await.len(), 1);
    migrating.commit().await.unwrap();
    assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 3);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_take_turns_even_where_views_last_as_long_as_transactions() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let db = database.connection();
    let strict = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO %L', \
                  current_database(), 'repeatable read'); END $$";
    db.execute_unprepared(strict).await.unwrap();
    // All have looked which parts there are before the first has its turn.
    let turn = db.begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(7524720513100444787)";
    turn.execute_unprepared(lock).await.unwrap();
    let mut stores = Vec::new();
    for _ in 0..3 {
        stores.push(store(&database).await);
    }
    let making: Vec<_> = stores
        .into_iter()
        .map(|store| tokio::spawn(async move { operator::make_partitions(&store, day(0)).await }))
        .collect();
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE '%pg_advisory_xact_lock%'";
    let all_wait = async {
        while rows(db, waiting).await.len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let all_wait = tokio::time::timeout(Duration::from_secs(20), all_wait).await;
    all_wait.expect("somebody does not wait");
    turn.commit().await.unwrap();
    let mut made = 0;
    for making in making {
        made += making.await.unwrap().unwrap();
    }
    assert_eq!(made, 3);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_whose_part_is_made_by_other_means_while_it_is_on_its_way_is_recorded() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    // As somebody does it who doesn't stop writers first.
    let making = database.connection().begin().await.unwrap();
    let bound = |days| {
        let ids = IdSource::from_seed([0; 10]);
        ids.next(day(days))
    };
    making
        .execute_unprepared(&format!(
            "CREATE TABLE a_week (LIKE usage_events INCLUDING DEFAULTS); \
             ALTER TABLE usage_events ATTACH PARTITION a_week FOR VALUES FROM ('{}') TO ('{}')",
            bound(-3),
            bound(4)
        ))
        .await
        .unwrap();
    let event = made_at(account, day(0));
    let recording = {
        let (store, event) = (store.clone(), event.clone());
        tokio::spawn(async move { record(&store, &[event]).await })
    };
    someone_waits(database.connection(), "INSERT INTO usage_events").await;
    making.commit().await.unwrap();
    recording.await.unwrap();
    assert_eq!(listed(&store, account).await, [event]);
    // A month whose ids have a place in part is left as it is.
    assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 2);
    database.close().await.unwrap();
}

#[tokio::test]
async fn an_id_that_tells_no_time_has_a_place() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    operator::make_partitions(&store, day(0)).await.unwrap();
    let events = [Uuid::from_u128(1), Uuid::max()].map(|id| Event {
        id: EventId::from_uuid(id),
        ..event(account, None)
    });
    record(&store, &events).await;
    assert_eq!(listed(&store, account).await, newest_first(&events));
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_month_that_has_too_many_events_to_be_moved_stays_where_it_is() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    let many = "INSERT INTO usage_events (id, account_id, operation, endpoint, method, status, outcome, units, \
                response_time_ms, response_time_us, request_id, created_at) \
                SELECT CAST(left(first, 24) || lpad(to_hex(number), 12, '0') AS uuid), CAST(first AS uuid), \
                'data.query', '/', 'GET', 200, 'completed', 1, 1, 1000, '', 0 \
                FROM generate_series(1, 100001) AS number, CAST($1 AS text) AS first";
    let first = made_at(someone(), day(0)).id.to_string();
    let many = Statement::from_sql_and_values(DbBackend::Postgres, many, [first.into()]);
    let db = database.connection();
    db.execute_raw(many).await.unwrap();
    assert_eq!(operator::make_partitions(&store, day(0)).await.unwrap(), 2);
    let expected = [
        ("usage_events_2026_12", 0),
        ("usage_events_2027_01", 0),
        ("usage_events_default", 100_001),
    ];
    assert_eq!(parts(db).await, with_counts(&expected));
    database.close().await.unwrap();
}

#[tokio::test]
async fn whoever_may_use_the_ledger_may_use_its_months() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, db) = (store(&database).await, database.connection());
    db.execute_unprepared("GRANT SELECT, DELETE ON usage_events TO PUBLIC")
        .await
        .unwrap();
    operator::make_partitions(&store, day(0)).await.unwrap();
    let rights = "SELECT COUNT(*) AS number FROM pg_class AS ledger, pg_class AS part \
                  WHERE ledger.oid = CAST('usage_events' AS regclass) AND part.relname LIKE 'usage\\_events\\_20%' \
                  AND part.relkind = 'r' AND part.relowner = ledger.relowner \
                  AND part.relacl @> ledger.relacl";
    let rights = Statement::from_string(db.get_database_backend(), rights);
    let row = db.query_one_raw(rights).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "number").unwrap(), 3);
    database.close().await.unwrap();
}
