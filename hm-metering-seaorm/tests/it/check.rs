//! Counters, events and rollups are held against each other.

use hm_metering::keys::{KeyPatch, KeyQuotas, NewKey};
use hm_metering::plan::Quota;
use hm_metering::quota::{QuotaKey, Settlement};
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{
    AccountId, KeyId, KeyStore, MeterName, QuotaStore, Timestamp, Units, UsageSink, UsageStore,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::usage_summary;
use hm_metering_seaorm::operator::{self, Checked, Counted, Difference, Witness};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, EntityTrait};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, later, new_key, settlement, store};

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

/// Three requests of one key and two of another of the account. The first has a quota of its own since `since`, and the last
/// `counted` of its requests are on its counter.
async fn loaded_for_a_key(store: &SeaOrmStore, since: Timestamp, counted: u32) -> (AccountId, KeyId) {
    let account = account(store).await;
    let key = NewKey {
        quotas: KeyQuotas::new([Quota::per_day(10)]).unwrap(),
        created_at: since,
        ..new_key(account)
    };
    store.insert(&key).await.unwrap();
    let (of_account, other) = (counter(account), KeyId::from_uuid(Uuid::new_v4()));
    let of_key = QuotaKey {
        key: Some(key.id),
        ..of_account.clone()
    };
    let holder = holder();
    let lease = store.lease(&ask(holder, 1, &of_key, 10, 5)).await.unwrap();
    let events = [key.id, key.id, other, key.id, other].map(|key| event(account, Some(key)));
    let settlements = vec![
        settlement(&of_account, None, 5),
        settlement(&of_key, Some(lease.token), counted),
    ];
    let recorded = store.record(&batch(holder, 1, events.into(), settlements)).await;
    recorded.unwrap();
    (account, key.id)
}

#[tokio::test]
async fn counters_of_keys_are_held_against_the_events_of_these_keys() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let (account, key) = loaded_for_a_key(&store, later(-3 * 86_400), 3).await;
        let (checked, found) = check(&store).await;
        assert_eq!((checked.counters, found), (2, vec![]));
        for (changed, counted) in [("used = used - 1", 2), ("used = used + 2", 4)] {
            let sql = format!("UPDATE quota_counters SET {changed} WHERE meter LIKE 'requests#%'");
            change(&store, &sql).await;
            let (_, found) = check(&store).await;
            assert_eq!(witnesses(&found), [Witness::Counter]);
            let difference = &found[0];
            assert_eq!(difference.account, account);
            assert_eq!(difference.what, Counted::UnitsOfKey(key, MeterName::REQUESTS));
            assert_eq!(
                [difference.counter, difference.events, difference.rollups],
                [counted, 3, 3].map(|units| Some(Units::new(units)))
            );
            assert!(!difference.witness.is_rollup(), "nothing is to be repaired");
        }
        change(
            &store,
            "UPDATE quota_counters SET used = 3, leased = leased + 1 WHERE meter LIKE 'requests#%'",
        )
        .await;
        let (_, found) = check(&store).await;
        assert_eq!(witnesses(&found), [Witness::Leases]);
        assert_eq!(found[0].what, Counted::UnitsOfKey(key, MeterName::REQUESTS));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_key_used_before_it_had_a_quota_or_without_one_is_no_difference() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        // In the midst of the period.
        let (account, key) = loaded_for_a_key(&store, later(-60), 1).await;
        assert_eq!(check(&store).await.1, []);
        let more = "UPDATE quota_counters SET used = used + 3 WHERE meter LIKE 'requests#%'";
        change(&store, more).await;
        assert_eq!(witnesses(&check(&store).await.1), [Witness::Counter]);
        change(
            &store,
            "UPDATE quota_counters SET used = 2 WHERE meter LIKE 'requests#%'",
        )
        .await;
        let set = async |quotas, at| {
            let patch = KeyPatch {
                quotas: Some(quotas),
                ..KeyPatch::default()
            };
            assert!(store.update(account, key, &patch, at).await.unwrap().is_some());
        };
        set(KeyQuotas::default(), later(1)).await;
        assert_eq!(check(&store).await.1, []);
        // Another limit leaves the moment alone, and another period does not.
        let of = |quota| KeyQuotas::new([quota]).unwrap();
        set(of(Quota::per_day(9)), later(-3 * 86_400)).await;
        set(of(Quota::per_day(8)), later(2)).await;
        assert_eq!(witnesses(&check(&store).await.1), [Witness::Counter]);
        set(of(Quota::per_hour(8)), later(3)).await;
        assert_eq!(check(&store).await.1, []);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_with_a_quota_of_its_own_makes_no_summary_of_its_own() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let (account, _) = loaded_for_a_key(&store, later(-3 * 86_400), 3).await;
        let all = (Timestamp::MIN, Timestamp::MAX);
        let summaries = operator::summaries(&store, account, &MeterName::REQUESTS, all)
            .await
            .unwrap();
        let sums: Vec<_> = summaries
            .iter()
            .map(|summary| (summary.count, summary.units.get()))
            .collect();
        assert_eq!(sums, [(5, 5)]);
        let rows = usage_summary::Entity::find()
            .all(store.connection())
            .await
            .unwrap();
        assert_eq!(rows.len(), 1);
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
