//! [`UsageSink`] and [`UsageStore`] on SQL.

pub(super) mod batch;
mod digest;
mod event;
mod insert;
pub(super) mod question;
mod record;
pub(super) mod rollup;
mod sketch;
pub(super) mod summary;

use async_trait::async_trait;
use hm_metering::page::{Page, PageRequest};
use hm_metering::quota::StoreIdentity;
use hm_metering::usage::{
    ActiveAccounts, ActiveSpan, Batch, Event, Facet, FacetSums, Grain, Recorded, SeriesPoint, UsageQuery,
    UsageTotals,
};
use hm_metering::{StoreResult, Timestamp, UsageSink, UsageStore};

use self::record::{Prune, Record};
use super::SeaOrmStore;

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
        let query = query.clone();
        self.read(
            "sum up usage",
            |db| async move { question::totals(&db, &query).await },
        )
        .await
    }

    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>> {
        let query = query.clone();
        self.read("sum up usage by time", move |db| async move {
            question::series(&db, &query, grain).await
        })
        .await
    }

    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>> {
        let (query, page) = (query.clone(), page.clone());
        self.read("list events", |db| async move {
            question::recent(&db, &query, &page).await
        })
        .await
    }

    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>> {
        let (query, quantiles) = (query.clone(), quantiles.to_vec());
        self.read("rank response times", |db| async move {
            question::response_times(&db, &query, &quantiles).await
        })
        .await
    }

    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>> {
        let query = query.clone();
        self.read("sum up usage by what is used most", move |db| async move {
            question::top(&db, &query, facet, limit).await
        })
        .await
    }

    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>> {
        self.read("count active accounts", move |db| async move {
            question::active_accounts(&db, (from, to), span).await
        })
        .await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64> {
        self.transact("prune events", Prune { before, limit }).await
    }
}
