//! Two tenants with the same shapes of data: whatever one asks for, nothing of the other is answered or changed.

use std::sync::Arc;
use std::time::Duration;

use hm_metering::keys::{KeyPatch, KeyRecord, NewKey};
use hm_metering::page::PageRequest;
use hm_metering::quota::{QuotaKey, QuotaWindow};
use hm_metering::usage::{Event, Export, Facet, Grain, UsageQuery};
use hm_metering::{
    AccountId, KeyStore, MeterName, PlanId, QuotaStore, StoreErrorKind, Timestamp, Units, UsageSink,
    UsageStore,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator::{self, Correction};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, later, new_key, settlement, store};

/// A tenant, and everything that is theirs. Each number is a multiple of `scale`.
struct Tenant {
    account: AccountId,
    keys: Vec<KeyRecord>,
    digest: hm_metering::key::KeyDigest,
    events: Vec<Event>,
    counter: QuotaKey,
    scale: u32,
}

impl Tenant {
    async fn new(store: &SeaOrmStore, scale: u32) -> Self {
        let account = account(store).await;
        let news: Vec<NewKey> = (0..3).map(|_| new_key(account)).collect();
        let mut keys = Vec::new();
        for new in &news {
            keys.push(store.insert(new).await.unwrap());
        }
        let events: Vec<Event> = (0..i64::from(10 * scale))
            .map(|place| Event {
                at: later(place * 30),
                units: vec![
                    (MeterName::REQUESTS, Units::ONE),
                    (MeterName::from_static("tokens"), Units::from(scale)),
                ],
                response_time_us: u64::from(1_000 * scale),
                ..event(account, Some(keys[0].id))
            })
            .collect();
        let (counter, holder) = (counter(account), holder());
        let lease = store
            .lease(&ask(holder, 1, &counter, 1_000, 100 * scale))
            .await
            .unwrap();
        let settled = vec![settlement(&counter, Some(lease.token), 10 * scale)];
        store
            .record(&batch(holder, 1, events.clone(), settled))
            .await
            .unwrap();
        Self {
            account,
            keys,
            digest: news[0].digest,
            events,
            counter,
            scale,
        }
    }

    fn query(&self) -> UsageQuery {
        UsageQuery::new(self.account, later(-100_000), later(100_000))
    }

    fn times(&self, number: u32) -> u64 {
        u64::from(number * self.scale)
    }

    /// All that can be read with the account is the account's own, to the last number.
    async fn reads_own_only(&self, store: &SeaOrmStore, other: &Self) {
        let (query, page) = (self.query(), PageRequest::first(100));
        let totals = store.totals(&query).await.unwrap();
        assert_eq!(totals.requests, self.times(10));
        let points = store.series(&query, Grain::Hour).await.unwrap();
        assert_eq!(
            points.iter().map(|point| point.totals.requests).sum::<u64>(),
            self.times(10)
        );
        let mut own: Vec<_> = self.events.iter().map(|event| event.id).collect();
        own.sort_unstable();
        let recent = store.recent(&query, &page).await.unwrap();
        assert!(recent.items.iter().all(|event| event.account == self.account));
        let mut export = Export::new(Arc::new(store.clone()), query.clone());
        let mut exported = Vec::new();
        while let Some(events) = export.next().await.unwrap() {
            exported.extend(events.into_iter().map(|event| event.id));
        }
        exported.sort_unstable();
        assert_eq!(exported, own);
        let longest = store.response_times(&query, &[0.0, 1.0]).await.unwrap().unwrap();
        assert_eq!(longest, vec![self.times(1_000); 2]);
        for facet in [
            Facet::Key,
            Facet::Endpoint,
            Facet::Operation,
            Facet::Source,
            Facet::StatusClass,
        ] {
            let top = store.top(&query, facet, 10).await.unwrap();
            assert_eq!(top.len(), 1, "{facet:?}");
            assert_eq!(top[0].requests, self.times(10), "{facet:?}");
        }
        let listed = store.list(self.account, &page).await.unwrap().items;
        assert_eq!(listed.len(), self.keys.len());
        assert!(listed.iter().all(|key| key.account == self.account));
        let balances = store
            .balances(&[self.counter.clone(), other.counter.clone()])
            .await
            .unwrap();
        assert_eq!(balances[0].used.get(), self.times(10));
        assert_eq!(balances[1].used.get(), other.times(10));
        let window = QuotaWindow {
            account: self.account,
            key: None,
            meter: MeterName::REQUESTS,
            since: Timestamp::MIN,
        };
        let windows = store.windows(&[window]).await.unwrap();
        assert_eq!(windows[0].balance.leased.get(), self.times(90));
        let summaries = self.summaries(store).await;
        assert_eq!(summaries.len(), 1);
        assert_eq!(summaries[0].units.get(), self.times(10));
        let found = store.find_by_digest(&[self.digest]).await.unwrap().unwrap();
        assert_eq!(found.record.account, self.account);
    }

    async fn summaries(&self, store: &SeaOrmStore) -> Vec<operator::PeriodSummary> {
        let range = (later(-1_000_000), later(1_000_000));
        operator::summaries(store, self.account, &MeterName::REQUESTS, range)
            .await
            .unwrap()
    }

    /// With the other's ids and cursors, and the own account, nothing is found.
    async fn finds_nothing_of(&self, store: &SeaOrmStore, other: &Self) {
        let foreign = other.keys[0].id;
        let query = self.query().of_key(foreign);
        assert_eq!(store.totals(&query).await.unwrap().requests, 0);
        let points = store.series(&query, Grain::Day).await.unwrap();
        assert!(points.iter().all(|point| point.totals.requests == 0));
        assert_eq!(store.response_times(&query, &[0.5]).await.unwrap(), None);
        assert_eq!(store.top(&query, Facet::Key, 10).await.unwrap().len(), 0);
        let everything = PageRequest::first(100);
        assert_eq!(store.recent(&query, &everything).await.unwrap().items.len(), 0);
        assert_eq!(store.get(self.account, foreign).await.unwrap(), None);
        let one = PageRequest::first(1);
        for cursor in [
            store.recent(&other.query(), &one).await.unwrap().next,
            store.list(other.account, &one).await.unwrap().next,
        ] {
            let page = PageRequest {
                limit: 100,
                cursor: Some(cursor.unwrap()),
            };
            // A cursor is of one list; in that of the other it says no more than a time.
            if let Ok(recent) = store.recent(&self.query(), &page).await {
                assert!(recent.items.iter().all(|event| event.account == self.account));
            }
            if let Ok(list) = store.list(self.account, &page).await {
                assert!(list.items.iter().all(|key| key.account == self.account));
            }
        }
    }

    /// What is tried on the other's keys with the own account changes nothing and says that there is no such key.
    async fn changes_nothing_of(&self, store: &SeaOrmStore, other: &Self) {
        let foreign = other.keys[0].id;
        let before = store.get(other.account, foreign).await.unwrap();
        let patch = KeyPatch {
            name: Some("mine".to_owned()),
            ..KeyPatch::default()
        };
        assert_eq!(
            store.update(self.account, foreign, &patch, NOW).await.unwrap(),
            None
        );
        assert_eq!(store.revoke(self.account, foreign, NOW).await.unwrap(), None);
        let replacement = new_key(self.account);
        let rotated = store.rotate(self.account, foreign, &replacement, NOW, NOW).await;
        assert_eq!(rotated.unwrap(), None);
        assert_eq!(store.get(other.account, foreign).await.unwrap(), before);
        // An event that names the other's key is the own account's, and no use of that key.
        let uses = before.unwrap().usage_count;
        let named = vec![event(self.account, Some(foreign))];
        let own = store.totals(&other.query()).await.unwrap();
        store
            .record(&batch(holder(), 1, named, Vec::new()))
            .await
            .unwrap();
        assert_eq!(store.totals(&other.query()).await.unwrap(), own);
        let after = store.get(other.account, foreign).await.unwrap().unwrap();
        assert_eq!(after.usage_count, uses);
    }
}

#[tokio::test]
async fn a_tenant_reads_what_is_its_own_and_nothing_of_another() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let (ada, eve) = (Tenant::new(&store, 1).await, Tenant::new(&store, 3).await);
        ada.reads_own_only(&store, &eve).await;
        eve.reads_own_only(&store, &ada).await;
        ada.finds_nothing_of(&store, &eve).await;
        eve.finds_nothing_of(&store, &ada).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_tenant_changes_nothing_of_another() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let (ada, eve) = (Tenant::new(&store, 1).await, Tenant::new(&store, 3).await);
        ada.changes_nothing_of(&store, &eve).await;
        eve.changes_nothing_of(&store, &ada).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn closing_moving_and_correcting_one_account_leaves_the_other_as_it_is() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let (ada, eve) = (Tenant::new(&store, 1).await, Tenant::new(&store, 3).await);
        let plan = PlanId::from_static("pro");
        store.set_tier(ada.account, &plan, NOW).await.unwrap();
        store.close_account(ada.account, NOW).await.unwrap();
        let found = store.find_by_digest(&[eve.digest]).await.unwrap().unwrap();
        assert!(found.account_open);
        assert_eq!(found.plan, PlanId::from_static("free"));

        let over = later(200_000);
        operator::close_periods(&store, over, Duration::ZERO, 10)
            .await
            .unwrap();
        let correction = Correction {
            count: 0,
            units: -5,
            reason: "a credit".to_owned(),
            late: false,
            at: over,
        };
        let (meter, start) = (MeterName::REQUESTS, ada.counter.period.start);
        operator::correct(&store, ada.account, &meter, start, &correction)
            .await
            .unwrap();
        assert_eq!(ada.summaries(&store).await[0].corrected(), Units::new(5));
        assert_eq!(eve.summaries(&store).await[0].corrected(), Units::new(30));
        let nobody = AccountId::from_uuid(Uuid::new_v4());
        let error = operator::correct(&store, nobody, &meter, start, &correction)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound);
        operator::rebuild_rollups(&store, ada.account, NOW).await.unwrap();
        eve.reads_own_only(&store, &ada).await;
        database.close().await.unwrap();
    }
}
