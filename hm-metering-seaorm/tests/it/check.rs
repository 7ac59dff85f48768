//! Counters, events and rollups are held against each other.

use hm_metering::quota::Settlement;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{AccountId, MeterName, QuotaStore, Timestamp, Units, UsageSink, UsageStore};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator::{self, Checked, Counted, Difference, Witness};
use hm_metering_seaorm::sea_orm::ConnectionTrait;
use hm_metering_seaorm::testing::TestDatabase;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, later, settlement, store};

async fn check(store: &SeaOrmStore) -> (Checked, Vec<Difference>) {
    let mut found = Vec::new();
    let checked = operator::check(store, |difference| found.push(difference.clone()))
        .await
        .unwrap();
    assert_eq!(checked.differences, found.len() as u64);
    (checked, found)
}

fn witnesses(found: &[Difference]) -> Vec<Witness> {
    found.iter().map(|difference| difference.witness).collect()
}

/// Three accounts with requests and tokens over two days, some of it leased.
async fn loaded(store: &SeaOrmStore) -> Vec<AccountId> {
    let mut accounts = Vec::new();
    for _ in 0..3 {
        let account = account(store).await;
        let (holder, counter) = (holder(), counter(account));
        let lease = store.lease(&ask(holder, 1, &counter, 1_000, 200)).await.unwrap();
        for number in 1..=4 {
            let events: Vec<Event> = (0..20)
                .map(|place| Event {
                    at: later(-40_000 + place * 4_001),
                    units: vec![
                        (MeterName::REQUESTS, Units::ONE),
                        (MeterName::from_static("tokens"), Units::new(7)),
                    ],
                    ..event(account, None)
                })
                .collect();
            let settlements = vec![settlement(&counter, Some(lease.token), 20)];
            store
                .record(&batch(holder, number, events, settlements))
                .await
                .unwrap();
        }
        accounts.push(account);
    }
    accounts
}

async fn change(store: &SeaOrmStore, sql: &str) {
    let changed = store.connection().execute_unprepared(sql).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

#[tokio::test]
async fn what_was_recorded_agrees_and_leases_under_way_are_accounted_for() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        loaded(&store).await;
        let (checked, found) = check(&store).await;
        assert_eq!(found, []);
        assert_eq!((checked.accounts, checked.counters, checked.unchecked), (3, 3, 0));
        // Two days, each with events, requests and tokens.
        assert_eq!(checked.days, 3 * 2 * 3);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_counter_that_was_changed_is_found_with_all_three_numbers() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let accounts = loaded(&store).await;
        change(&store, "UPDATE quota_counters SET used = used + 1").await;
        let (_, found) = check(&store).await;
        let counters: Vec<_> = found
            .iter()
            .filter(|difference| difference.witness == Witness::Counter)
            .collect();
        assert_eq!(counters.len(), accounts.len());
        for difference in counters {
            assert!(accounts.contains(&difference.account));
            assert_eq!(difference.what, Counted::Units(MeterName::REQUESTS));
            assert_eq!(difference.period, counter(difference.account).period);
            assert_eq!(
                [difference.counter, difference.events, difference.rollups],
                [81, 80, 80].map(|units| Some(Units::new(units)))
            );
        }
        // Its summary was written with it, and says otherwise too.
        assert_eq!(found.len(), 2 * accounts.len());
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_counter_that_is_gone_and_a_lease_that_is_wrong_are_found() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        loaded(&store).await;
        change(&store, "UPDATE quota_counters SET leased = leased - 1").await;
        let (_, found) = check(&store).await;
        assert_eq!(witnesses(&found), [Witness::Leases; 3]);
        assert_eq!(found[0].counter, Some(Units::new(119)));
        assert_eq!(found[0].events, Some(Units::new(120)));
        change(&store, "DELETE FROM quota_counters").await;
        let (_, found) = check(&store).await;
        assert!(
            found
                .iter()
                .any(|difference| difference.witness == Witness::Summary)
        );
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn events_that_are_gone_or_were_changed_are_found() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        loaded(&store).await;
        let late = later(-20_000).as_micros();
        change(
            &store,
            &format!("DELETE FROM usage_events WHERE created_at > {late}"),
        )
        .await;
        let (_, found) = check(&store).await;
        let shown: Vec<_> = found
            .iter()
            .filter(|difference| difference.witness == Witness::Counter)
            .map(|difference| (difference.counter, difference.events, difference.rollups))
            .collect();
        assert_eq!(shown.len(), 3);
        assert!(
            shown
                .iter()
                .all(|(counter, events, rollups)| counter == rollups && events < rollups)
        );
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn rollups_of_any_kind_that_were_changed_are_found_and_made_anew() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let accounts = loaded(&store).await;
        let query = UsageQuery::new(accounts[0], later(-80_000), later(80_000));
        let totals = store.totals(&query).await.unwrap();
        let times = store.response_times(&query, &[0.5, 1.0]).await.unwrap();
        for sql in [
            "UPDATE usage_rollup_sums SET units = units + 1 WHERE grain = 0",
            "UPDATE usage_rollup_sums SET requests = requests - 1 WHERE grain = 1",
            "DELETE FROM usage_rollup_sums WHERE grain = 2",
            "DELETE FROM usage_rollup_sums",
            "UPDATE usage_rollup_units SET units = 0",
            "UPDATE usage_rollup_endpoints SET requests = requests * 2",
        ] {
            change(&store, sql).await;
            let (_, found) = check(&store).await;
            assert!(!found.is_empty(), "{sql}");
            for difference in &found {
                assert!(
                    difference.witness.is_rollup() || sql.contains("units"),
                    "{difference}"
                );
                if difference.witness.is_rollup() {
                    let day = difference.period.start;
                    operator::rebuild_rollups(&store, difference.account, day)
                        .await
                        .unwrap();
                }
            }
            assert_eq!(check(&store).await.1, [], "after {sql}");
        }
        assert_eq!(store.totals(&query).await.unwrap(), totals);
        assert_eq!(store.response_times(&query, &[0.5, 1.0]).await.unwrap(), times);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_waited_across_the_end_of_a_period_is_no_difference() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let first = counter(account);
        let mut next = first.clone();
        next.period.start = first.period.end;
        next.period.end = Timestamp::from_micros(first.period.end.as_micros() + 86_400_000_000);
        let edge = |seconds: i64| Timestamp::from_micros(first.period.end.as_micros() + seconds * 1_000_000);
        let came = |at| Event {
            at,
            ..event(account, None)
        };
        let events = vec![came(NOW), came(edge(-1)), came(edge(1))];
        let settlements: Vec<Settlement> = vec![settlement(&first, None, 1), settlement(&next, None, 2)];
        store
            .record(&batch(holder(), 1, events, settlements))
            .await
            .unwrap();
        // One whose flush has nothing else of its period.
        let settlements = vec![settlement(&next, None, 1)];
        store
            .record(&batch(holder(), 1, vec![came(edge(-2))], settlements))
            .await
            .unwrap();
        assert_eq!(check(&store).await.1, []);
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_beside_flushers_raises_no_false_alarm_and_neither_does_a_repair() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let shared = account(&store).await;
        let flushers: Vec<_> = (0..3)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let holder = holder();
                    let counter = counter(shared);
                    let lease = store
                        .lease(&ask(holder, 1, &counter, 10_000, 1_000))
                        .await
                        .unwrap();
                    for number in 1..=25 {
                        let events = (0..10).map(|_| event(shared, None)).collect();
                        let settlements = vec![settlement(&counter, Some(lease.token), 10)];
                        store
                            .record(&batch(holder, number, events, settlements))
                            .await
                            .unwrap();
                    }
                })
            })
            .collect();
        let mut round = 0;
        while !flushers.iter().all(tokio::task::JoinHandle::is_finished) || round == 0 {
            assert_eq!(check(&store).await.1, [], "round {round}");
            operator::rebuild_rollups(&store, shared, NOW).await.unwrap();
            round += 1;
        }
        for flusher in flushers {
            flusher.await.unwrap();
        }
        assert_eq!(check(&store).await.1, []);
        let query = UsageQuery::new(shared, later(-100_000), later(100_000));
        assert_eq!(store.totals(&query).await.unwrap().requests, 750);
        database.close().await.unwrap();
    }
}
