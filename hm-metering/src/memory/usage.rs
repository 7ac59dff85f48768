//! The ledger.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::cursor::{self, Position};
use super::{MemoryStore, State, digest};
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::id::{AccountId, EventId};
use crate::page::{Page, PageRequest};
use crate::quota::StoreIdentity;
use crate::time::Timestamp;
use crate::usage::{
    ActiveAccounts, ActiveSpan, Batch, BatchId, Event, Facet, FacetSums, Grain, Recorded, SeriesPoint,
    UsageQuery, UsageSink, UsageStore, UsageTotals,
};

/// Marks the cursors of [`UsageStore::recent`].
const LIST: char = 'e';

/// Where an event stands in the order of time.
type Place = (Timestamp, EventId);

pub(super) struct Ledger {
    capacity: usize,
    batches: HashMap<BatchId, [u8; 32]>,
    ids: HashSet<EventId>,
    accounts: HashMap<AccountId, BTreeMap<Place, Arc<Event>>>,
    /// All accounts' events in order of time, to forget the oldest.
    order: BTreeMap<Place, AccountId>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            capacity: MemoryStore::EVENT_CAPACITY,
            batches: HashMap::new(),
            ids: HashSet::new(),
            accounts: HashMap::new(),
            order: BTreeMap::new(),
        }
    }
}

impl Ledger {
    pub(super) fn set_capacity(&mut self, events: usize) {
        self.capacity = events.max(1);
        self.forget_surplus();
    }

    /// Whether the batch is new; nothing is changed yet.
    fn is_new(&self, batch: &Batch, digest: &[u8; 32]) -> StoreResult<bool> {
        let conflict = || StoreError::new(StoreErrorKind::Conflict, "record batch");
        if let Some(known) = self.batches.get(&batch.id) {
            return if known == digest {
                Ok(false)
            } else {
                Err(conflict())
            };
        }
        let mut ids = HashSet::with_capacity(batch.events.len());
        let all_new = batch
            .events
            .iter()
            .all(|event| !self.ids.contains(&event.id) && ids.insert(event.id));
        if all_new { Ok(true) } else { Err(conflict()) }
    }

    fn keep(&mut self, event: &Event) {
        let place = (event.at, event.id);
        self.ids.insert(event.id);
        self.order.insert(place, event.account);
        self.accounts
            .entry(event.account)
            .or_default()
            .insert(place, Arc::new(event.clone()));
    }

    fn forget_surplus(&mut self) {
        while self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((place, account)) = self.order.pop_first() else {
            return;
        };
        self.ids.remove(&place.1);
        if let Some(events) = self.accounts.get_mut(&account) {
            events.remove(&place);
            if events.is_empty() {
                self.accounts.remove(&account);
            }
        }
    }

    fn prune(&mut self, before: Timestamp, limit: usize) -> u64 {
        let mut removed = 0;
        while removed < limit as u64
            && self
                .order
                .first_key_value()
                .is_some_and(|((at, _), _)| *at < before)
        {
            self.forget_oldest();
            removed += 1;
        }
        removed
    }

    fn active_accounts(&self, from: Timestamp, to: Timestamp, span: ActiveSpan) -> Vec<ActiveAccounts> {
        let mut spans: BTreeMap<Timestamp, HashSet<AccountId>> = BTreeMap::new();
        for ((at, _), account) in &self.order {
            let midnight = Grain::Day.start_of(*at);
            if from <= midnight && midnight < to {
                spans.entry(span.start_of(*at)).or_default().insert(*account);
            }
        }
        let count = |(start, accounts): (Timestamp, HashSet<AccountId>)| ActiveAccounts {
            start,
            accounts: accounts.len() as u64,
        };
        spans.into_iter().map(count).collect()
    }

    /// All events, oldest first.
    #[cfg(feature = "testing")]
    pub(super) fn all(&self) -> impl Iterator<Item = &Event> {
        let of = |(place, account): (&Place, &AccountId)| {
            self.accounts.get(account)?.get(place).map(|event| &**event)
        };
        self.order.iter().filter_map(of)
    }

    /// The events of a query, oldest first.
    fn matching<'a>(&'a self, query: &'a UsageQuery) -> impl DoubleEndedIterator<Item = &'a Event> {
        self.matching_before(query, None)
    }

    /// Those of them that come before a place.
    fn matching_before<'a>(
        &'a self,
        query: &'a UsageQuery,
        place: Option<Position>,
    ) -> impl DoubleEndedIterator<Item = &'a Event> {
        let first = |at| (at, EventId::from_uuid(uuid::Uuid::nil()));
        let from = first(query.from);
        let end = first(query.to);
        let to = place.map_or(end, |(at, id)| end.min((at, id.into())));
        // A map's range must not end before it begins.
        let to = to.max(from);
        self.accounts
            .get(&query.account)
            .into_iter()
            .flat_map(move |events| events.range(from..to).map(|(_, event)| &**event))
            .filter(|event| query.matches(event))
    }
}

impl State {
    fn record(&mut self, batch: &Batch, digest: [u8; 32]) -> StoreResult<Recorded> {
        if !self.usage.is_new(batch, &digest)? {
            return Ok(Recorded::Repeated);
        }
        self.usage.batches.insert(batch.id, digest);
        for event in &batch.events {
            self.usage.keep(event);
            if let Some(key) = event.key.filter(|_| event.outcome.reached_handler()) {
                self.keys.count_use(event.account, key, event.at);
            }
        }
        self.usage.forget_surplus();
        self.quota.settle(batch.id.holder(), batch.id, &batch.settlements);
        Ok(Recorded::New)
    }
}

/// How many grains a range touches.
fn grains(query: &UsageQuery, grain: Grain) -> u64 {
    if query.to <= query.from {
        return 0;
    }
    let first = query.from.as_micros().div_euclid(grain.micros());
    let last = (query.to.as_micros() - 1).div_euclid(grain.micros());
    (last - first).unsigned_abs() + 1
}

/// The position, from one, of the smallest of `count` sorted values that at least a share of `quantile` does not
/// exceed. Shares are compared as they are written: 7 of 100 are 0.07, though 0.07 × 100 is a little more than 7.
fn nearest_rank(quantile: f64, count: usize) -> usize {
    let share = |rank: usize| rank as f64 / count as f64;
    let near = ((quantile * count as f64) as usize).saturating_sub(1).max(1);
    (near..count)
        .find(|rank| share(*rank) >= quantile)
        .unwrap_or(count)
}

#[async_trait]
impl UsageSink for MemoryStore {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let digest = digest::of_events(&batch.events);
        self.lock().record(batch, digest)
    }

    fn identity(&self) -> Option<StoreIdentity> {
        Some(self.identity)
    }
}

#[async_trait]
impl UsageStore for MemoryStore {
    async fn totals(&self, query: &UsageQuery) -> StoreResult<UsageTotals> {
        let mut totals = UsageTotals::default();
        for event in self.lock().usage.matching(query) {
            totals.add(event);
        }
        Ok(totals)
    }

    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>> {
        if grains(query, grain) > UsageQuery::MAX_POINTS {
            return Err(StoreError::new(StoreErrorKind::Invalid, "sum up a series"));
        }
        let mut points: BTreeMap<Timestamp, UsageTotals> = BTreeMap::new();
        for event in self.lock().usage.matching(query) {
            points.entry(grain.start_of(event.at)).or_default().add(event);
        }
        let point = |(start, totals)| SeriesPoint { start, totals };
        Ok(points.into_iter().map(point).collect())
    }

    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>> {
        let after = cursor::position(LIST, page)?;
        let state = self.lock();
        let newest_first = state.usage.matching_before(query, after).rev().cloned();
        Ok(cursor::cut(LIST, page, newest_first, |event| {
            (event.at, event.id.as_uuid())
        }))
    }

    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>> {
        if !quantiles.iter().all(|quantile| (0.0..=1.0).contains(quantile)) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "ask for response times"));
        }
        let mut times: Vec<u64> = self
            .lock()
            .usage
            .matching(query)
            .filter(|event| event.outcome.reached_handler())
            .map(|event| event.response_time_us)
            .collect();
        if times.is_empty() {
            return Ok(None);
        }
        times.sort_unstable();
        let at = |quantile: &f64| times[nearest_rank(*quantile, times.len()) - 1];
        Ok(Some(quantiles.iter().map(at).collect()))
    }

    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>> {
        let mut sums = FacetSums::of(facet, self.lock().usage.matching(query));
        sums.truncate(limit.clamp(1, UsageQuery::MAX_TOP));
        Ok(sums)
    }

    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>> {
        let days = UsageQuery::new(AccountId::from_uuid(uuid::Uuid::nil()), from, to);
        if grains(&days, Grain::Day) > UsageQuery::MAX_POINTS {
            return Err(StoreError::new(StoreErrorKind::Invalid, "count active accounts"));
        }
        Ok(self.lock().usage.active_accounts(from, to, span))
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64> {
        Ok(self.lock().usage.prune(before, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_the_smallest_that_reaches_the_share() {
        for count in 1..=300 {
            for percent in 0..=100_usize {
                let exact = (percent * count).div_ceil(100).max(1);
                let rank = nearest_rank(percent as f64 / 100.0, count);
                assert_eq!(rank, exact, "{percent} % of {count}");
            }
        }
    }
}
