//! What is in the database.

use std::collections::{BTreeMap, BTreeSet};

use hm_metering_seaorm::entity::{api_key, quota_counter, usage_event, user};
use hm_metering_seaorm::sea_orm::{EntityTrait, PaginatorTrait};

use crate::place::Place;

/// The ledger as it is at one moment.
#[derive(Debug)]
pub struct Ledger {
    events: Vec<usage_event::Model>,
    counters: Vec<quota_counter::Model>,
}

impl Ledger {
    /// Reads it.
    ///
    /// # Panics
    ///
    /// When it can't be read.
    pub async fn read(place: &Place) -> Self {
        let database = place.look().await;
        let events = usage_event::Entity::find().all(&database).await.expect("events");
        let counters = quota_counter::Entity::find()
            .all(&database)
            .await
            .expect("counters");
        database.close().await.expect("the end of reading");
        Self { events, counters }
    }

    /// All events.
    #[must_use]
    pub fn events(&self) -> &[usage_event::Model] {
        &self.events
    }

    /// How often each request is in the ledger, by the name it was sent under.
    #[must_use]
    pub fn times(&self) -> BTreeMap<&str, usize> {
        let mut times = BTreeMap::new();
        for event in &self.events {
            *times.entry(event.request_id.as_str()).or_insert(0) += 1;
        }
        times
    }

    /// Fails unless each request of `answered` is in here once, and every other one of `sent` at most once, and none that
    /// was not sent.
    ///
    /// # Panics
    ///
    /// With the names of those that are wrong.
    pub fn must_have_once(&self, answered: &BTreeSet<String>, sent: &BTreeSet<String>) {
        let times = self.times();
        let missing: Vec<_> = answered
            .iter()
            .filter(|id| !times.contains_key(id.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "{} answered and not in the ledger: {missing:?}",
            missing.len()
        );
        let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "more than once in the ledger: {twice:?}");
        let strangers: Vec<_> = times.keys().filter(|id| !sent.contains(**id)).collect();
        assert!(strangers.is_empty(), "nobody sent {strangers:?}");
    }

    /// For each account: the units that its events charge, the units that its counters say are used, and those leased.
    #[must_use]
    pub fn by_account(&self) -> BTreeMap<String, (i64, i64, i64)> {
        let mut sums: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
        for event in &self.events {
            sums.entry(event.account_id.to_string()).or_default().0 += event.units;
        }
        for counter in &self.counters {
            let sum = sums.entry(counter.account_id.to_string()).or_default();
            sum.1 += counter.used;
            sum.2 += counter.leased;
        }
        sums
    }

    /// Units charged by all events together.
    #[must_use]
    pub fn charged(&self) -> i64 {
        self.events.iter().map(|event| event.units).sum()
    }

    /// Units that the quota counters say are used, and those still leased.
    #[must_use]
    pub fn counted(&self) -> (i64, i64) {
        (
            self.counters.iter().map(|counter| counter.used).sum(),
            self.counters.iter().map(|counter| counter.leased).sum(),
        )
    }
}

/// How many people and keys there are.
///
/// # Panics
///
/// When they can't be counted.
pub async fn people_and_keys(place: &Place) -> (u64, u64) {
    let database = place.look().await;
    let people = user::Entity::find().count(&database).await.expect("people");
    let keys = api_key::Entity::find().count(&database).await.expect("keys");
    database.close().await.expect("the end of reading");
    (people, keys)
}
