use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hm_metering::conformance::{Fixture, MadeUpAccounts, usage};
use hm_metering::error::{StoreError, StoreErrorKind, StoreResult};
use hm_metering::page::{Page, PageRequest};
use hm_metering::usage::{
    ActiveAccounts, ActiveSpan, Batch, BatchId, Event, Facet, FacetSums, Grain, Outcome, Recorded,
    SeriesPoint, UsageQuery, UsageTotals,
};
use hm_metering::{AccountId, MemoryStore, MeterName, Timestamp, Units, UsageSink, UsageStore};

use super::bites;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    RecordsPartly,
    KnowsBatchesByIdOnly,
    RepeatIsAConflict,
    RecordsEveryBatchAnew,
    ForgetsTheRun,
    EventIdsAreNotUnique,
    ChecksAndThenWrites,
    CutsTimesToMilliseconds,
    CutsResponseTimesToMilliseconds,
    TrimsText,
    DropsTheUser,
    DropsTheTags,
    SortsTagsByLength,
    TakesTheBatchsReplica,
    CutsSizesTo32Bits,
    ZeroIsNoFirstByte,
    ForgetsWhatWentOver,
    OkIsNoGrpcStatus,
    TotalsOfAllAccounts,
    TotalsIgnoreTheKey,
    RefusedAreCharged,
    RefusedAreFailed,
    SumsWrapAround,
    EndIsIncluded,
    StartIsExcluded,
    SeriesHasEmptyGrains,
    SeriesIsReversed,
    SeriesHasNoBound,
    SeriesIgnoresTheRange,
    PageSkips,
    PageRepeats,
    LastPageHasACursor,
    AnyCursorIsTaken,
    PagesHaveNoBound,
    QuantileIsOneTooHigh,
    QuantileIsOneTooLow,
    QuantilesAreSorted,
    RefusedHaveResponseTimes,
    AnyQuantileIsTaken,
    TopIsOfAllKeys,
    TopIsReversed,
    TopHasNoBound,
    TopForgetsWhatHasNoValue,
    TopCountsRefusedAsFailed,
    TopIgnoresTheRange,
    ActiveCountsEvents,
    ActiveWeekBeginsOnSunday,
    ActiveIgnoresTheRange,
    ActiveHasNoBound,
    PruneTakesTheMomentItself,
    PruneHasNoBound,
    PruneForgetsBatches,
    PruneMiscounts,
}

struct Broken {
    store: MemoryStore,
    fault: Option<Fault>,
    calls: AtomicU64,
    pruned: AtomicBool,
    accounts: Mutex<HashSet<AccountId>>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn query(&self, query: &UsageQuery) -> UsageQuery {
        let mut query = query.clone();
        if self.has(Fault::EndIsIncluded) {
            query.to = Timestamp::from_micros(query.to.as_micros() + 1);
        }
        if self.has(Fault::StartIsExcluded) {
            query.from = Timestamp::from_micros(query.from.as_micros() + 1);
        }
        query
    }

    fn kept(&self, event: &Event, batch: BatchId) -> Event {
        let mut event = event.clone();
        if self.has(Fault::CutsTimesToMilliseconds) {
            event.at = Timestamp::from_micros(event.at.as_micros() / 1_000 * 1_000);
        }
        if self.has(Fault::CutsResponseTimesToMilliseconds) {
            event.response_time_us = event.response_time_us / 1_000 * 1_000;
        }
        if self.has(Fault::TrimsText) {
            event.endpoint = event.endpoint.trim().into();
        }
        if self.has(Fault::DropsTheUser) {
            event.user = None;
        }
        if self.has(Fault::DropsTheTags) {
            event.tags.clear();
        }
        if self.has(Fault::SortsTagsByLength) {
            event.tags.sort_by_key(|(name, _)| name.len());
        }
        if self.has(Fault::TakesTheBatchsReplica) {
            event.replica = batch.replica;
        }
        if self.has(Fault::CutsSizesTo32Bits) {
            event.bytes_out = event.bytes_out.min(u32::MAX.into());
        }
        if self.has(Fault::ZeroIsNoFirstByte) {
            event.first_byte_us = event.first_byte_us.filter(|micros| *micros > 0);
        }
        if self.has(Fault::ForgetsWhatWentOver) {
            event.over = false;
        }
        if self.has(Fault::OkIsNoGrpcStatus) {
            event.grpc_status = event.grpc_status.filter(|status| *status > 0);
        }
        if self.has(Fault::RefusedHaveResponseTimes) {
            event.outcome = Outcome::Completed;
        }
        event
    }

    async fn all(&self, query: &UsageQuery) -> StoreResult<Vec<Event>> {
        let (mut events, mut cursor) = (Vec::new(), None);
        loop {
            let request = PageRequest { limit: 1_000, cursor };
            let page = self.store.recent(query, &request).await?;
            events.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(events);
            }
        }
    }

    fn anew(&self, batch: &mut Batch) {
        batch.id.epoch = 1_000_000 + self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl UsageSink for Broken {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let mut batch = batch.clone();
        batch.events = batch
            .events
            .iter()
            .map(|event| self.kept(event, batch.id))
            .collect();
        self.accounts
            .lock()
            .unwrap()
            .extend(batch.events.iter().map(|event| event.account));
        if self.has(Fault::ForgetsTheRun) {
            batch.id.epoch = 1;
        }
        if self.has(Fault::ChecksAndThenWrites) {
            let known = self.store.record(&batch).await?;
            tokio::task::yield_now().await;
            return Ok(if self.calls.fetch_add(1, Ordering::Relaxed) < 4 {
                Recorded::New
            } else {
                known
            });
        }
        if self.has(Fault::EventIdsAreNotUnique) {
            // Every event gets another id, always the same for one batch.
            for (number, event) in batch.events.iter_mut().enumerate() {
                let id = event.id.as_uuid().as_u128() ^ batch.id.replica.as_uuid().as_u128();
                event.id = uuid::Uuid::from_u128(id ^ (number as u128) << 80).into();
            }
        }
        let answer = self.store.record(&batch).await;
        let conflict = answer.is_err();
        if conflict && self.has(Fault::RecordsPartly) {
            for event in &batch.events {
                let mut alone = Batch {
                    events: vec![event.clone()],
                    ..batch.clone()
                };
                self.anew(&mut alone);
                let _ = self.store.record(&alone).await;
            }
        }
        if conflict && self.has(Fault::KnowsBatchesByIdOnly) {
            return Ok(Recorded::Repeated);
        }
        if matches!(answer, Ok(Recorded::Repeated)) {
            if self.has(Fault::RepeatIsAConflict) {
                return Err(StoreError::new(StoreErrorKind::Conflict, "record batch"));
            }
            if self.has(Fault::RecordsEveryBatchAnew) {
                self.anew(&mut batch);
                for event in &mut batch.events {
                    event.id = uuid::Uuid::now_v7().into();
                }
                return self.store.record(&batch).await;
            }
            if self.has(Fault::PruneForgetsBatches) && self.pruned.load(Ordering::Relaxed) {
                self.anew(&mut batch);
                return self.store.record(&batch).await;
            }
        }
        answer
    }
}

#[async_trait]
impl UsageStore for Broken {
    async fn totals(&self, query: &UsageQuery) -> StoreResult<UsageTotals> {
        let mut query = self.query(query);
        if self.has(Fault::TotalsIgnoreTheKey) {
            query.key = None;
        }
        let mut totals = self.store.totals(&query).await?;
        if self.has(Fault::TotalsOfAllAccounts) {
            let mut all = 0;
            let accounts: Vec<_> = self.accounts.lock().unwrap().iter().copied().collect();
            for account in accounts {
                let of_one = UsageQuery {
                    account,
                    ..query.clone()
                };
                all += self.store.totals(&of_one).await?.requests;
            }
            totals.requests = all;
        }
        if self.has(Fault::RefusedAreCharged) && totals.refused > 0 {
            let sum = totals.units.entry(MeterName::REQUESTS).or_default();
            *sum = sum.plus(Units::new(totals.refused));
        }
        if self.has(Fault::RefusedAreFailed) {
            let events = self.all(&query).await?;
            totals.failed = events.iter().filter(|event| event.status >= 500).count() as u64;
        }
        if self.has(Fault::SumsWrapAround) {
            for units in totals.units.values_mut() {
                *units = Units::new(units.get() % Units::MAX.get());
            }
        }
        Ok(totals)
    }

    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>> {
        let mut query = self.query(query);
        if self.has(Fault::SeriesIgnoresTheRange) {
            query.from = grain.start_of(query.from);
        }
        let answer = self.store.series(&query, grain).await;
        if self.has(Fault::SeriesHasNoBound) && answer.is_err() {
            return Ok(Vec::new());
        }
        let mut points = answer?;
        if self.has(Fault::SeriesIsReversed) {
            points.reverse();
        }
        if self.has(Fault::SeriesHasEmptyGrains) && !points.is_empty() {
            let last = points[points.len() - 1].start;
            points.push(SeriesPoint {
                start: Timestamp::from_micros(last.as_micros() + grain.micros()),
                totals: UsageTotals::default(),
            });
        }
        Ok(points)
    }

    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>> {
        let query = self.query(query);
        if self.has(Fault::PagesHaveNoBound) && page.limit > PageRequest::MAX {
            return Ok(Page {
                items: self.all(&query).await?,
                next: None,
            });
        }
        let mut answer = self.store.recent(&query, page).await;
        if self.has(Fault::AnyCursorIsTaken) && answer.is_err() {
            answer = self.store.recent(&query, &PageRequest::first(page.limit)).await;
        }
        let mut answer = answer?;
        if page.cursor.is_some() && !answer.items.is_empty() {
            if self.has(Fault::PageSkips) {
                answer.items.remove(0);
            }
            if self.has(Fault::PageRepeats) {
                answer.items.insert(0, answer.items[0].clone());
            }
        }
        if self.has(Fault::LastPageHasACursor)
            && let (Some(last), None) = (answer.items.last(), &answer.next)
        {
            answer.next = Some(format!("e{}.{}", last.at.as_micros(), last.id));
        }
        Ok(answer)
    }

    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>> {
        let query = self.query(query);
        let mut quantiles = quantiles.to_vec();
        if self.has(Fault::AnyQuantileIsTaken) {
            for quantile in &mut quantiles {
                *quantile = if quantile.is_nan() {
                    0.0
                } else {
                    quantile.clamp(0.0, 1.0)
                };
            }
        }
        if self.has(Fault::QuantilesAreSorted) {
            quantiles.sort_by(f64::total_cmp);
        }
        let totals = self.store.totals(&query).await?;
        let one = 1.0 / totals.requests.saturating_sub(totals.refused).max(1) as f64;
        let by = match self.fault {
            Some(Fault::QuantileIsOneTooHigh) => one,
            Some(Fault::QuantileIsOneTooLow) => -one,
            _ => return self.store.response_times(&query, &quantiles).await,
        };
        let shifted: Vec<f64> = quantiles
            .iter()
            .map(|quantile| {
                let bad = !(0.0..=1.0).contains(quantile);
                if bad {
                    *quantile
                } else {
                    (quantile + by).clamp(0.0, 1.0)
                }
            })
            .collect();
        self.store.response_times(&query, &shifted).await
    }

    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>> {
        let mut query = self.query(query);
        let mut limit = limit;
        if self.has(Fault::TopIsOfAllKeys) {
            query.key = None;
        }
        if self.has(Fault::TopIgnoresTheRange) {
            query.to = Timestamp::MAX;
        }
        if self.has(Fault::TopHasNoBound) {
            limit = UsageQuery::MAX_TOP;
        }
        let mut top = self.store.top(&query, facet, limit).await?;
        if self.has(Fault::TopIsReversed) {
            top.reverse();
        }
        if self.has(Fault::TopForgetsWhatHasNoValue) {
            top.retain(|sums| sums.value.is_some());
        }
        if self.has(Fault::TopCountsRefusedAsFailed) {
            for sums in &mut top {
                sums.failed += sums.refused;
            }
        }
        Ok(top)
    }

    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>> {
        let to = if self.has(Fault::ActiveIgnoresTheRange) {
            Timestamp::from_micros(to.as_micros() + 7 * Grain::Day.micros())
        } else {
            to
        };
        let answer = self.store.active_accounts(from, to, span).await;
        if self.has(Fault::ActiveHasNoBound) && answer.is_err() {
            return Ok(Vec::new());
        }
        let mut active = answer?;
        for one in &mut active {
            if self.has(Fault::ActiveCountsEvents) {
                one.accounts *= 2;
            }
            if self.has(Fault::ActiveWeekBeginsOnSunday) && span == ActiveSpan::Week {
                one.start = Timestamp::from_micros(one.start.as_micros() - Grain::Day.micros());
            }
        }
        Ok(active)
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64> {
        self.pruned.store(true, Ordering::Relaxed);
        let (mut before, mut limit) = (before, limit);
        if self.has(Fault::PruneTakesTheMomentItself) {
            before = Timestamp::from_micros(before.as_micros() + 1);
        }
        if self.has(Fault::PruneHasNoBound) {
            limit = usize::MAX;
        }
        if self.has(Fault::PruneMiscounts) && limit > 0 && limit < 5 {
            // Takes one more than it says.
            limit += 1;
            return Ok(self.store.prune(before, limit).await?.saturating_sub(1));
        }
        self.store.prune(before, limit).await
    }
}

fn broken(fault: Option<Fault>) -> Broken {
    Broken {
        store: MemoryStore::new(),
        fault,
        calls: AtomicU64::new(0),
        pruned: AtomicBool::new(false),
        accounts: Mutex::default(),
    }
}

#[tokio::test]
async fn every_fault_of_a_sink_is_noticed() {
    let faults = [
        (Fault::RecordsPartly, "nothing_of_a_half_new_batch_is_recorded"),
        (
            Fault::KnowsBatchesByIdOnly,
            "a_batch_id_with_other_events_is_a_conflict",
        ),
        (Fault::DropsTheTags, "a_batch_id_with_other_events_is_a_conflict"),
        (
            Fault::TakesTheBatchsReplica,
            "a_batch_id_with_other_events_is_a_conflict",
        ),
        (
            Fault::ForgetsWhatWentOver,
            "a_batch_id_with_other_events_is_a_conflict",
        ),
        (Fault::RepeatIsAConflict, "a_repeated_batch_is_recognised"),
        (Fault::RecordsEveryBatchAnew, "a_repeated_batch_is_recognised"),
        (Fault::ForgetsTheRun, "batches_of_any_origin_are_told_apart"),
        (
            Fault::EventIdsAreNotUnique,
            "an_event_of_another_batch_is_a_conflict",
        ),
        (
            Fault::ChecksAndThenWrites,
            "simultaneous_sends_of_a_batch_record_once",
        ),
    ];
    let make = |fault| Fixture::<dyn UsageSink>::new(Arc::new(broken(fault)), MadeUpAccounts);
    bites(usage::sink_cases(), make, &faults).await;
}

#[tokio::test]
async fn every_fault_of_a_usage_store_is_noticed() {
    let faults = [
        (Fault::RecordsPartly, "a_conflicting_batch_leaves_no_trace"),
        (Fault::RecordsEveryBatchAnew, "a_repeated_batch_counts_once"),
        (
            Fault::CutsTimesToMilliseconds,
            "ranges_are_exact_to_the_microsecond",
        ),
        (
            Fault::CutsResponseTimesToMilliseconds,
            "quantiles_are_by_nearest_rank",
        ),
        (Fault::TrimsText, "text_of_events_comes_back_as_it_was"),
        (Fault::DropsTheUser, "events_come_back_as_they_were"),
        (Fault::DropsTheTags, "events_come_back_as_they_were"),
        (Fault::SortsTagsByLength, "tags_come_back_as_they_were"),
        (Fault::TakesTheBatchsReplica, "details_come_back_as_they_were"),
        (Fault::CutsSizesTo32Bits, "details_come_back_as_they_were"),
        (Fault::ZeroIsNoFirstByte, "details_come_back_as_they_were"),
        (Fault::ForgetsWhatWentOver, "details_come_back_as_they_were"),
        (Fault::OkIsNoGrpcStatus, "details_come_back_as_they_were"),
        (Fault::TotalsOfAllAccounts, "another_accounts_events_are_not_seen"),
        (Fault::TotalsIgnoreTheKey, "a_query_of_a_key_has_its_events_only"),
        (Fault::RefusedAreCharged, "totals_equal_the_sum_of_events"),
        (Fault::RefusedAreFailed, "totals_tell_refused_from_failed"),
        (Fault::SumsWrapAround, "great_sums_stop_at_the_end"),
        (Fault::EndIsIncluded, "ranges_are_exact_to_the_microsecond"),
        (Fault::StartIsExcluded, "ranges_are_exact_to_the_microsecond"),
        (Fault::SeriesHasEmptyGrains, "a_series_has_the_sums_of_each_grain"),
        (Fault::SeriesIsReversed, "a_series_has_the_sums_of_each_grain"),
        (Fault::SeriesHasNoBound, "a_series_has_a_greatest_length"),
        (Fault::SeriesIgnoresTheRange, "a_series_is_cut_by_its_range"),
        (Fault::PageSkips, "pages_have_each_event_once"),
        (Fault::PageRepeats, "pages_have_each_event_once"),
        (Fault::LastPageHasACursor, "pages_have_each_event_once"),
        (Fault::AnyCursorIsTaken, "a_made_up_cursor_of_events_is_invalid"),
        (
            Fault::PagesHaveNoBound,
            "ten_thousand_events_are_recorded_at_once",
        ),
        (Fault::QuantileIsOneTooHigh, "quantiles_are_by_nearest_rank"),
        (Fault::QuantileIsOneTooLow, "quantiles_are_by_nearest_rank"),
        (Fault::QuantilesAreSorted, "quantiles_are_by_nearest_rank"),
        (
            Fault::RefusedHaveResponseTimes,
            "refused_requests_have_no_response_time",
        ),
        (
            Fault::AnyQuantileIsTaken,
            "a_quantile_outside_its_range_is_invalid",
        ),
        (Fault::TopIsOfAllKeys, "the_top_is_that_of_the_query"),
        (Fault::TopIsReversed, "the_top_has_the_most_requests_first"),
        (Fault::TopHasNoBound, "the_top_is_bounded"),
        (Fault::TopForgetsWhatHasNoValue, "the_top_adds_up_to_the_totals"),
        (Fault::TopCountsRefusedAsFailed, "the_top_adds_up_to_the_totals"),
        (Fault::TopIgnoresTheRange, "the_top_is_that_of_the_query"),
        (
            Fault::ActiveCountsEvents,
            "active_accounts_are_counted_once_a_day_and_a_week",
        ),
        (
            Fault::ActiveWeekBeginsOnSunday,
            "active_accounts_are_counted_once_a_day_and_a_week",
        ),
        (
            Fault::ActiveIgnoresTheRange,
            "active_accounts_are_those_of_the_range",
        ),
        (Fault::ActiveHasNoBound, "active_accounts_are_those_of_the_range"),
        (Fault::PruneTakesTheMomentItself, "old_events_are_removed"),
        (Fault::PruneHasNoBound, "removing_is_bounded_and_oldest_first"),
        (Fault::PruneMiscounts, "removing_is_bounded_and_oldest_first"),
        (Fault::PruneForgetsBatches, "batch_ids_outlive_their_events"),
    ];
    let make = |fault| Fixture::<dyn UsageStore>::new(Arc::new(broken(fault)), MadeUpAccounts);
    bites(usage::cases(), make, &faults).await;
}
