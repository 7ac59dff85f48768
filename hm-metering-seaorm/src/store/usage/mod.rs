//! [`UsageSink`] and [`UsageStore`] on SQL.

#[cfg(feature = "postgres")]
mod arrays;
pub(super) mod batch;
mod digest;
mod event;
mod insert;
mod prune;
pub(super) mod question;
mod record;
pub(super) mod rollup;
pub(super) mod sketch;
pub(super) mod summary;

use async_trait::async_trait;
use hm_metering::page::{Page, PageRequest};
use hm_metering::quota::StoreIdentity;
use hm_metering::usage::{
    ActiveAccounts, ActiveSpan, Batch, Event, Facet, FacetSums, Grain, Recorded, SeriesPoint, UsageQuery,
    UsageTotals,
};
use hm_metering::{StoreResult, Timestamp, UsageSink, UsageStore};

use self::prune::Prune;
use self::record::Record;
use super::SeaOrmStore;
use super::operator::activity::active_accounts;

#[async_trait]
impl UsageSink for SeaOrmStore {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        const CONTEXT: &str = "record a batch";
        self.transact(
            CONTEXT,
            Record::new(batch).map_err(|failure| failure.into_error(CONTEXT))?,
        )
        .await
    }

    fn identity(&self) -> Option<StoreIdentity> {
        Some(self.0.identity)
    }
}

#[async_trait]
impl UsageStore for SeaOrmStore {
    async fn totals(&self, query: &UsageQuery) -> StoreResult<UsageTotals> {
        self.read("sum up usage", query.clone(), |db, query| async move {
            question::totals(&db, &query).await
        })
        .await
    }

    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>> {
        self.read(
            "sum up usage by time",
            query.clone(),
            move |db, query| async move { question::series(&db, &query, grain).await },
        )
        .await
    }

    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>> {
        let subject = (query.clone(), page.clone());
        self.read("list events", subject, |db, (query, page)| async move {
            question::recent(&db, &query, &page).await
        })
        .await
    }

    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>> {
        let subject = (query.clone(), quantiles.to_vec());
        self.read(
            "rank response times",
            subject,
            |db, (query, quantiles)| async move { question::response_times(&db, &query, &quantiles).await },
        )
        .await
    }

    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>> {
        self.read(
            "sum up usage by what is used most",
            query.clone(),
            move |db, query| async move { question::top(&db, &query, facet, limit).await },
        )
        .await
    }

    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>> {
        self.read("count active accounts", (from, to), move |db, range| async move {
            active_accounts(&db, range, span).await
        })
        .await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64> {
        self.transact("prune events", Prune { before, limit }).await
    }
}

/// What [`record`](UsageSink::record) would answer to a batch, by its id and its events. Nothing is changed.
///
/// # Errors
///
/// [`Conflict`](hm_metering::StoreErrorKind::Conflict) when the ledger has other events under the batch's id, and when the
/// database doesn't answer.
pub async fn would_record(store: &SeaOrmStore, batch: &Batch) -> StoreResult<Recorded> {
    let subject = (batch.id, digest::of(&batch.events));
    store
        .read("look for a batch", subject, |db, (id, digest)| async move {
            batch::look(&db, id, &digest).await
        })
        .await
}
