//! Many at once, on one counter or one day.

use std::sync::Arc;
use std::time::Duration;

use hm_metering::quota::Release;
use hm_metering::{QuotaStore, StoreErrorKind, Units, UsageSink};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, TransactionTrait};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{SeaOrmStore, operator};
use tokio::sync::Barrier;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, store};
use crate::partitions::someone_waits;

/// Each task leases until nothing is left, giving a unit back now and then; answers what all of them kept.
async fn lease_until_empty(stores: &[SeaOrmStore], tasks: usize, limit: u32) -> (u64, u64) {
    let key = counter(account(&stores[0]).await);
    let start = Arc::new(Barrier::new(tasks));
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let (store, key, start) = (
                stores[task % stores.len()].clone(),
                key.clone(),
                Arc::clone(&start),
            );
            tokio::spawn(async move {
                start.wait().await;
                let (holder, mut kept, mut operation) = (holder(), 0, 0);
                loop {
                    operation += 1;
                    let want = 1 + (task as u32 + operation as u32) % 7;
                    let grant = store
                        .lease(&ask(holder, operation, &key, limit, want))
                        .await
                        .unwrap();
                    if grant.granted.is_zero() {
                        return kept;
                    }
                    assert!(grant.balance.used.plus(grant.balance.leased) <= Units::from(limit));
                    kept += grant.granted.get();
                    if operation == 1 {
                        operation += 1;
                        let release = Release {
                            holder,
                            operation,
                            key: key.clone(),
                            token: grant.token,
                            units: Units::ONE,
                            now: crate::fixtures::NOW,
                        };
                        store.release(&release).await.unwrap();
                        kept -= 1;
                    }
                }
            })
        })
        .collect();
    let mut kept = 0;
    for task in running {
        kept += task.await.unwrap();
    }
    let balance = stores[0].balances(&[key]).await.unwrap()[0];
    assert_eq!(balance.used, Units::ZERO);
    (kept, balance.leased.get())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_are_granted_exactly_the_limit() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        assert_eq!(lease_until_empty(&[store], 64, 1_000).await, (1_000, 1_000));
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_with_pools_of_their_own_are_granted_exactly_the_limit() {
    for database in TestDatabase::every().await.unwrap() {
        let stores = [store(&database).await, store(&database).await];
        assert_eq!(lease_until_empty(&stores, 16, 300).await, (300, 300));
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_no_connection_behind() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let key = counter(account(&store).await);
        for _ in 0..300 {
            let leasing = {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move { store.lease(&ask(holder(), 1, &key, 1_000, 1)).await })
            };
            tokio::task::yield_now().await;
            leasing.abort();
        }
        // Whatever the dropped calls came to, the rest is still there for others, to the last unit.
        let (holder, mut operation, mut granted) = (holder(), 0, 0);
        loop {
            operation += 1;
            let grant = store
                .lease(&ask(holder, operation, &key, 1_000, 100))
                .await
                .unwrap();
            granted += grant.granted.get();
            let left = 1_000 - grant.balance.leased.get();
            if grant.granted.is_zero() && left == 0 {
                break;
            }
        }
        assert!((700..=1_000).contains(&granted), "{granted}");
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_never_let_through_waits_for_some_seconds_only() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let store = store(&database).await;
    let account = account(&store).await;
    let events = vec![event(account, None)];
    store
        .record(&batch(holder(), 1, events, Vec::new()))
        .await
        .unwrap();
    let db = database.connection();
    // As if servers recorded all the time: every race is lost.
    for sql in [
        "CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END $$",
        "CREATE TRIGGER lost BEFORE DELETE ON usage_rollup_sums FOR EACH ROW EXECUTE FUNCTION lost()",
    ] {
        db.execute_unprepared(sql).await.unwrap();
    }
    let writing = db.begin().await.unwrap();
    let write = "LOCK TABLE usage_rollup_sums IN ROW EXCLUSIVE MODE";
    writing.execute_unprepared(write).await.unwrap();
    let repairing = {
        let store = store.clone();
        tokio::spawn(async move { operator::rebuild_rollups(&store, account, NOW).await })
    };
    someone_waits(db, "LOCK TABLE usage_rollup_sums IN SHARE").await;
    let repaired = tokio::time::timeout(Duration::from_secs(60), repairing).await;
    let error = repaired.expect("it waits for ever").unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");

    writing.rollback().await.unwrap();
    db.execute_unprepared("DROP TRIGGER lost ON usage_rollup_sums")
        .await
        .unwrap();
    operator::rebuild_rollups(&store, account, NOW).await.unwrap();
    database.close().await.unwrap();
}
