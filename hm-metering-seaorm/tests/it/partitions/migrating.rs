//! The step that divides the ledger, and its way back, with events in place.

use hm_metering::{StoreErrorKind, UsageSink};
use hm_metering_seaorm::sea_orm::TransactionTrait;
use hm_metering_seaorm::{Migrator, migration};

use super::*;
use crate::fixtures::store;

/// How many steps have to be undone to have the ledger in one table.
fn steps_back() -> u32 {
    let steps = migration::migrations();
    let place = steps.iter().position(|step| step.name().ends_with("_partitions"));
    u32::try_from(steps.len() - place.unwrap()).unwrap()
}

/// What tells the ledger's shape apart: its kind, and the names of its indexes and who may use it.
async fn shape(db: &DatabaseConnection) -> (String, Vec<String>, String) {
    let kind = "SELECT CAST(relkind AS text), CAST(relacl AS text) FROM pg_class WHERE oid = CAST('usage_events' AS regclass)";
    let row = &rows(db, kind).await[0];
    let (kind, rights) = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
    let indexes = "SELECT indexname FROM pg_indexes WHERE tablename = 'usage_events' ORDER BY 1";
    let indexes = rows(db, indexes).await;
    let indexes = indexes.iter().map(|row| row.try_get_by_index(0).unwrap());
    (kind, indexes.collect(), rights)
}

#[tokio::test]
async fn the_ledger_is_divided_and_put_together_again_with_events_in_place() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    let db = database.connection();
    let back = steps_back();
    migration::down::<Migrator>(db, back).await.unwrap();
    db.execute_unprepared("GRANT SELECT ON usage_events TO PUBLIC")
        .await
        .unwrap();
    let whole = shape(db).await;
    assert_eq!(whole.0, "r");
    assert!(whole.2.contains("=r/"), "{whole:?}");

    // Long ago, far ahead in whatever year this runs, and without a time.
    let mut events: Vec<Event> = [-2_000, -1_000, 30_000]
        .map(|days| made_at(account, day(days)))
        .into();
    events.push(Event {
        id: EventId::from_uuid(Uuid::max()),
        ..event(account, None)
    });
    record(&store, &events).await;
    let expected = newest_first(&events);

    for round in 0..3 {
        migration::up::<Migrator>(db).await.unwrap();
        let divided = shape(db).await;
        assert_eq!(
            (divided.0.as_str(), &divided.1, &divided.2),
            ("p", &whole.1, &whole.2)
        );
        let counts = parts(db).await;
        let count = |name: &str| counts.iter().find(|part| part.0 == name).map(|part| part.1);
        assert_eq!(count("usage_events_past"), Some(2), "{counts:?}");
        assert_eq!(count("usage_events_default"), Some(2), "{counts:?}");
        assert_eq!(listed(&store, account).await, expected);
        for event in &events {
            let again = batch(holder(), 1, vec![event.clone()], Vec::new());
            let error = store.record(&again).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error:?}");
        }
        // Months that have events already are not made anew, later ones are.
        if round == 1 {
            assert_eq!(operator::make_partitions(&store, day(-1_000)).await.unwrap(), 0);
            assert_eq!(operator::make_partitions(&store, day(30_000)).await.unwrap(), 3);
            assert_eq!(listed(&store, account).await, expected);
        }
        migration::down::<Migrator>(db, back).await.unwrap();
        assert_eq!(shape(db).await, whole);
        assert_eq!(listed(&store, account).await, expected);
    }
    assert_eq!(differences(&store).await, Vec::<String>::new());
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_new_database_has_no_part_for_the_past() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let expected = vec![("usage_events_default".to_owned(), 0)];
    assert_eq!(parts(database.connection()).await, expected);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_waits_for_a_table_lets_others_pass() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    let db = database.connection();
    migration::down::<Migrator>(db, steps_back()).await.unwrap();
    let reading = db.begin().await.unwrap();
    let read = "SELECT count(*) FROM usage_events";
    reading.execute_unprepared(read).await.unwrap();
    let migrating = {
        let db = db.clone();
        tokio::spawn(async move { migration::up::<Migrator>(&db).await })
    };
    someone_waits(db, "LOCK TABLE usage_events").await;
    let event = made_at(account, day(0));
    record(&store, std::slice::from_ref(&event)).await;
    assert!(!migrating.is_finished());
    reading.commit().await.unwrap();
    migrating.await.unwrap().unwrap();
    assert_eq!(listed(&store, account).await, [event]);
    database.close().await.unwrap();
}
