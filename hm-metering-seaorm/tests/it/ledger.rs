//! One flush is one transaction, and counts once.

use hm_metering::keys::KeyUse;
use hm_metering::page::PageRequest;
use hm_metering::usage::{Outcome, Recorded, UsageQuery};
use hm_metering::{KeyStore, MeterName, QuotaStore, StoreErrorKind, Units, UsageSink, UsageStore};
use hm_metering_seaorm::entity::{usage_batch, usage_rollup_sum, usage_summary};
use hm_metering_seaorm::sea_orm::EntityTrait;
use hm_metering_seaorm::testing::TestDatabase;

use crate::fixtures::{account, ask, batch, counter, event, holder, later, new_key, settlement, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_arrives_many_times_at_once_counts_once_everywhere() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let (holder, counter) = (holder(), counter(account));
        let key = store.insert(&new_key(account)).await.unwrap();
        let grant = store.lease(&ask(holder, 1, &counter, 1_000, 10)).await.unwrap();
        let mut refused = event(account, Some(key.id));
        refused.outcome = Outcome::Refused;
        refused.status = 429;
        refused.units.clear();
        refused.source = None;
        let events = vec![
            event(account, Some(key.id)),
            event(account, Some(key.id)),
            refused,
        ];
        let batch = batch(
            holder,
            1,
            events.clone(),
            vec![settlement(&counter, Some(grant.token), 2)],
        );

        let sending: Vec<_> = (0..8)
            .map(|_| {
                let (store, batch) = (store.clone(), batch.clone());
                tokio::spawn(async move { store.record(&batch).await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for sent in sending {
            new += u32::from(sent.await.unwrap() == Recorded::New);
        }
        assert_eq!(new, 1);

        let query = UsageQuery::new(account, later(-1), later(1));
        let totals = store.totals(&query).await.unwrap();
        assert_eq!((totals.requests, totals.refused, totals.failed), (3, 1, 0));
        assert_eq!(totals.units, [(MeterName::REQUESTS, Units::new(2))].into());
        let mut listed = store.recent(&query, &PageRequest::first(10)).await.unwrap().items;
        let mut sent = events;
        listed.sort_by_key(|event| event.id);
        sent.sort_by_key(|event| event.id);
        assert_eq!(listed, sent);

        let balance = store.balances(std::slice::from_ref(&counter)).await.unwrap()[0];
        assert_eq!((balance.used, balance.leased), (Units::new(2), Units::new(8)));
        let summaries = usage_summary::Entity::find()
            .all(store.connection())
            .await
            .unwrap();
        assert_eq!(summaries.len(), 1);
        assert_eq!(
            (summaries[0].count, summaries[0].units, summaries[0].quota_limit),
            (2, 2, Some(1_000))
        );
        assert_eq!(summaries[0].tier, "free");
        let rollups = usage_rollup_sum::Entity::find()
            .all(store.connection())
            .await
            .unwrap();
        // By minute, hour and day.
        assert_eq!(rollups.len(), 2 * 3);
        assert_eq!(rollups.iter().map(|sum| sum.requests).sum::<i64>(), 3 * 3);
        assert_eq!(rollups.iter().map(|sum| sum.units).sum::<i64>(), 2 * 3);
        let used = store.get(account, key.id).await.unwrap().unwrap();
        assert_eq!(
            (used.usage_count, used.last_used_at),
            (2, Some(crate::fixtures::NOW))
        );
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_conflict_leaves_nothing_of_the_batch() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let (holder, counter) = (holder(), counter(account));
        let first = event(account, None);
        let one = vec![settlement(&counter, None, 1)];
        store
            .record(&batch(holder, 1, vec![first.clone()], one.clone()))
            .await
            .unwrap();

        let other_events = batch(holder, 1, vec![event(account, None)], one.clone());
        let error = store.record(&other_events).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);
        let same_event = batch(holder, 2, vec![event(account, None), first.clone()], one.clone());
        let error = store.record(&same_event).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict);

        let query = UsageQuery::new(account, later(-1), later(1));
        let listed = store.recent(&query, &PageRequest::first(10)).await.unwrap();
        assert_eq!(listed.items, [first]);
        assert_eq!(store.balances(&[counter]).await.unwrap()[0].used, Units::ONE);
        assert_eq!(
            usage_batch::Entity::find()
                .all(store.connection())
                .await
                .unwrap()
                .len(),
            1
        );
        let rollups = usage_rollup_sum::Entity::find()
            .all(store.connection())
            .await
            .unwrap();
        assert_eq!(
            rollups.iter().map(|sum| sum.requests).collect::<Vec<_>>(),
            [1, 1, 1]
        );
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn settling_a_batch_and_recording_it_settles_it_once_in_either_order() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let (holder, counter) = (holder(), counter(account));
        for number in [1, 2] {
            let settlements = vec![settlement(&counter, None, 3)];
            let batch = batch(holder, number, vec![event(account, None)], settlements);
            for step in 0..4 {
                if (step + number) % 2 == 0 {
                    store
                        .settle(holder, batch.id, &batch.settlements, later(0))
                        .await
                        .unwrap();
                } else {
                    store.record(&batch).await.unwrap();
                }
            }
        }
        assert_eq!(store.balances(&[counter]).await.unwrap()[0].used, Units::new(6));
        let query = UsageQuery::new(account, later(-1), later(1));
        assert_eq!(store.totals(&query).await.unwrap().requests, 2);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn more_events_than_a_statement_has_parameters_for_are_one_batch() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let events: Vec<_> = (0..4_000)
            .map(|number| {
                let mut event = event(account, None);
                event.source = (number % 3 > 0).then(|| if number % 3 == 1 { "" } else { "=x" }.into());
                event.endpoint = "/nul\0/it's \"ü\" \\ {NULL}".into();
                event.units = vec![(MeterName::from_static("tokens"), Units::MAX)];
                event.first_byte_us = (number % 2 > 0).then_some(u64::MAX);
                event.bytes_in = u64::MAX;
                event.tags = vec![("nul\0".into(), "\0".into())];
                event
            })
            .collect();
        store.record(&batch(holder(), 1, events, vec![])).await.unwrap();
        let query = UsageQuery::new(account, later(-1), later(1));
        let totals = store.totals(&query).await.unwrap();
        assert_eq!(totals.requests, 4_000);
        assert_eq!(
            totals.units,
            [(MeterName::from_static("tokens"), Units::MAX)].into()
        );
        let listed = store.recent(&query, &PageRequest::first(1_000)).await.unwrap();
        assert!(listed.next.is_some());
        for source in [None, Some(""), Some("=x")] {
            assert!(
                listed.items.iter().any(|event| event.source.as_deref() == source),
                "{source:?}"
            );
        }
        let first = &listed.items[0];
        assert_eq!(first.endpoint, "/nul\u{fffd}/it's \"ü\" \\ {NULL}");
        assert_eq!(first.bytes_in, i64::MAX.unsigned_abs());
        assert_eq!(first.tags, [("nul\u{fffd}".to_owned(), "\u{fffd}".to_owned())]);
        for first_byte in [None, Some(i64::MAX.unsigned_abs())] {
            assert!(listed.items.iter().any(|event| event.first_byte_us == first_byte));
        }
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushers_that_share_accounts_do_not_block_each_other_for_good() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let mut shared = Vec::new();
        for _ in 0..10 {
            let account = account(&store).await;
            shared.push((account, store.insert(&new_key(account)).await.unwrap().id));
        }
        let flushers: Vec<_> = (0..8_usize)
            .map(|flusher| {
                let (store, mut shared) = (store.clone(), shared.clone());
                tokio::spawn(async move {
                    let holder = holder();
                    shared.rotate_left(flusher);
                    for number in 1..=10 {
                        let events = shared
                            .iter()
                            .map(|(account, key)| event(*account, Some(*key)))
                            .collect();
                        let settlements = shared
                            .iter()
                            .map(|(account, _)| settlement(&counter(*account), None, 1))
                            .collect();
                        store
                            .record(&batch(holder, number, events, settlements))
                            .await
                            .unwrap();
                        let uses = shared.iter().map(|(_, key)| KeyUse {
                            key: *key,
                            count: 1,
                            last_used_at: later(number as i64),
                        });
                        store.mark_used(&uses.collect::<Vec<_>>()).await.unwrap();
                    }
                })
            })
            .collect();
        for flusher in flushers {
            flusher.await.unwrap();
        }
        for (account, key) in shared {
            assert_eq!(
                store.balances(&[counter(account)]).await.unwrap()[0].used,
                Units::new(80)
            );
            let key = store.get(account, key).await.unwrap().unwrap();
            assert_eq!((key.usage_count, key.last_used_at), (160, Some(later(10))));
        }
        database.close().await.unwrap();
    }
}
