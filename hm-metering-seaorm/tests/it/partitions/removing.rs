//! Parts are dropped when all of their events are old, and nothing else is lost with them.

use hm_metering::{StoreErrorKind, UsageStore};
use hm_metering_seaorm::sea_orm::{DatabaseTransaction, TransactionTrait};

use super::*;
use crate::fixtures::store;

async fn names(database: &TestDatabase) -> Vec<String> {
    let parts = parts(database.connection()).await;
    parts.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn parts_with_old_events_only_are_dropped_and_the_rest_is_removed_one_by_one() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    // Parts from August 2026 to January 2027.
    for days in [-100, 0] {
        operator::make_partitions(&store, day(days)).await.unwrap();
    }
    let in_september = made_at(account, day(-60));
    let mut events: Vec<Event> = [-100, -99, -98, -60, -59, -48, -47, -30, -29, 0]
        .map(|days| made_at(account, day(days)))
        .into();
    // Ids that don't tell when the event was.
    events.push(Event {
        at: day(0),
        ..in_september
    });
    events.push(Event {
        at: day(-90),
        ..event(account, None)
    });
    record(&store, &events).await;
    let before = store.totals(&all_of(account)).await.unwrap();

    let limit = day(-38);
    let pruned = operator::prune_events(&store, limit, 2).await.unwrap();
    assert_eq!((pruned.partitions, pruned.events), (1, 5));
    let left: Vec<Event> = events.into_iter().filter(|event| event.at >= limit).collect();
    assert_eq!(listed(&store, account).await, newest_first(&left));
    assert_eq!(left.len(), 4);
    assert!(
        names(&database)
            .await
            .contains(&"usage_events_2026_09".to_owned())
    );
    assert_eq!(store.totals(&all_of(account)).await.unwrap(), before);
    assert_eq!(differences(&store).await, Vec::<String>::new());
    let refused = operator::rebuild_rollups(&store, account, day(-99))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Invalid);
    let again = operator::prune_events(&store, limit, 2).await.unwrap();
    assert_eq!(again, operator::PrunedEvents::default());

    // What comes late has a place, and goes with the next pruning.
    let late = made_at(account, day(-97));
    record(&store, std::slice::from_ref(&late)).await;
    assert!(listed(&store, account).await.contains(&late));
    let pruned = operator::prune_events(&store, day(9), 100).await.unwrap();
    assert_eq!((pruned.partitions, pruned.events), (3, 1));
    assert_eq!(listed(&store, account).await, []);
    assert_eq!(
        names(&database).await,
        [
            "usage_events_2026_12",
            "usage_events_2027_01",
            "usage_events_default"
        ]
    );
    assert_eq!(differences(&store).await, Vec::<String>::new());
    database.close().await.unwrap();
}

#[tokio::test]
async fn the_part_that_is_written_to_stays_even_when_it_is_empty() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    operator::make_partitions(&store, day(0)).await.unwrap();
    operator::prune_events(&store, day(0), 100).await.unwrap();
    assert_eq!(names(&database).await.len(), 4);
    database.close().await.unwrap();
}

/// A ledger of one account in August, and somebody who holds a table that the work under test comes to after it has begun.
async fn in_august(holding: &str) -> Option<(TestDatabase, SeaOrmStore, AccountId, DatabaseTransaction)> {
    let database = TestDatabase::postgres().await.unwrap()?;
    let (store, account) = (store(&database).await, someone());
    operator::make_partitions(&store, day(-100)).await.unwrap();
    let events: Vec<Event> = (0..20).map(|_| made_at(account, day(-100))).collect();
    record(&store, &events).await;
    let transaction = database.connection().begin().await.unwrap();
    transaction.execute_unprepared(holding).await.unwrap();
    Some((database, store, account, transaction))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_not_dropped_under_those_who_sum_it_up() {
    let holding = "SELECT 1 FROM usage_rollup_sums FOR UPDATE";
    let Some((database, store, account, transaction)) = in_august(holding).await else {
        return;
    };
    let before = store.totals(&all_of(account)).await.unwrap();
    let rebuilding = {
        let store = store.clone();
        tokio::spawn(async move { operator::rebuild_rollups(&store, account, day(-100)).await })
    };
    someone_waits(database.connection(), "DELETE FROM \"usage_rollup_sums\"").await;
    let pruning = {
        let store = store.clone();
        tokio::spawn(async move { operator::prune_events(&store, day(-70), 100).await })
    };
    someone_waits(database.connection(), "LOCK TABLE ONLY usage_events").await;
    transaction.commit().await.unwrap();
    rebuilding.await.unwrap().unwrap();
    let pruned = pruning.await.unwrap().unwrap();
    assert_eq!((pruned.partitions, pruned.events), (1, 0));
    assert_eq!(store.totals(&all_of(account)).await.unwrap(), before);
    assert_eq!(differences(&store).await, Vec::<String>::new());
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_not_dropped_under_those_who_check_it() {
    let holding = "LOCK TABLE quota_leases IN ACCESS EXCLUSIVE MODE";
    let Some((database, store, _, transaction)) = in_august(holding).await else {
        return;
    };
    let checking = {
        let store = store.clone();
        tokio::spawn(async move { differences(&store).await })
    };
    someone_waits(database.connection(), "SELECT \"quota_leases\"").await;
    let pruning = {
        let store = store.clone();
        tokio::spawn(async move { operator::prune_events(&store, day(-70), 100).await })
    };
    someone_waits(database.connection(), "LOCK TABLE ONLY usage_events").await;
    transaction.commit().await.unwrap();
    assert_eq!(checking.await.unwrap(), Vec::<String>::new());
    assert_eq!(pruning.await.unwrap().unwrap().partitions, 1);
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_held_for_long_is_emptied_and_dropped_another_time() {
    let holding = "LOCK TABLE usage_events IN ACCESS SHARE MODE";
    let Some((database, store, account, transaction)) = in_august(holding).await else {
        return;
    };
    let pruned = operator::prune_events(&store, day(-70), 7).await.unwrap();
    assert_eq!((pruned.partitions, pruned.events), (0, 20));
    assert_eq!(listed(&store, account).await, []);
    transaction.commit().await.unwrap();
    let pruned = operator::prune_events(&store, day(-70), 7).await.unwrap();
    assert_eq!((pruned.partitions, pruned.events), (1, 0));
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_prune_at_once() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let (store, account) = (store(&database).await, someone());
    // Parts from April to October 2026.
    for days in [-220, -100] {
        operator::make_partitions(&store, day(days)).await.unwrap();
    }
    let events: Vec<Event> = [-220, -190, -160, -100, -70]
        .map(|days| made_at(account, day(days)))
        .into();
    record(&store, &events).await;
    let pruning: Vec<_> = (0..4)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { operator::prune_events(&store, day(0), 10).await })
        })
        .collect();
    let (mut dropped, mut removed) = (0, 0);
    for pruning in pruning {
        let pruned = pruning.await.unwrap().unwrap();
        dropped += pruned.partitions;
        removed += pruned.events;
    }
    assert_eq!((dropped, removed), (6, 0));
    assert_eq!(names(&database).await, ["usage_events_default"]);
    assert_eq!(differences(&store).await, Vec::<String>::new());
    database.close().await.unwrap();
}
