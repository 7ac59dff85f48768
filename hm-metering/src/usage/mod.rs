//! The ledger: one event for each finished request, written in batches.

mod cloud_events;
#[cfg(feature = "metrics")]
mod counters;
mod event;
mod export;
pub(crate) mod journal;
mod query;
mod text;
mod top;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use cloud_events::{CloudEvent, CloudEventsSink, Publisher};
#[cfg(feature = "metrics")]
pub use counters::CountersSink;
pub use event::{Event, Outcome};
pub use export::Export;
pub use journal::{Durability, Journal, JournalError, WhenFull};
pub use query::{Grain, SeriesPoint, UsageQuery, UsageTotals};
pub use text::Text;
pub use top::{ActiveAccounts, ActiveSpan, Facet, FacetSums};

use crate::error::StoreResult;
use crate::id::ReplicaId;
use crate::page::{Page, PageRequest};
use crate::quota::{Holder, Settlement, StoreIdentity};
use crate::time::Timestamp;

/// Names a batch for ever: the same batch sent twice has the same id, two batches never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BatchId {
    /// The installation that made it.
    pub replica: ReplicaId,
    /// Its run.
    pub epoch: u64,
    /// Its number in the run, rising from one.
    pub number: u64,
}

impl BatchId {
    /// Who made it.
    #[must_use]
    pub const fn holder(&self) -> Holder {
        Holder {
            replica: self.replica,
            epoch: self.epoch,
        }
    }
}

/// Events and the settlements that belong to them, written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its name.
    pub id: BatchId,
    /// When it was put together.
    pub created_at: Timestamp,
    /// Finished requests; none twice.
    pub events: Vec<Event>,
    /// What the events charged, summed up by counter and lease.
    pub settlements: Vec<Settlement>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the ledger now.
    New,
    /// It had been there before; nothing changed.
    Repeated,
}

/// Takes finished requests.
///
/// Rules, each tested by the conformance suite:
///
/// * A batch is recorded whole or not at all.
/// * The same batch id with the same events counts once, however often it is sent.
/// * Time is an argument; dropping the future leaves the sink before or after the whole batch.
#[async_trait]
pub trait UsageSink: Send + Sync + 'static {
    /// Records a batch. A sink that says by [`QuotaStore::settled_by`](crate::quota::QuotaStore::settled_by) that it
    /// settles applies the settlements in the same transaction; others leave them alone. A batch may be empty.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) when the batch id is there with other events, or an event id is
    /// there from another batch or with other content: then nothing of the batch is recorded. After
    /// [`Timeout`](crate::StoreErrorKind::Timeout) and [`Unavailable`](crate::StoreErrorKind::Unavailable) it may or may
    /// not be recorded; send it again.
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded>;

    /// Which database it writes to; none when it shares no transaction with any other store.
    fn identity(&self) -> Option<StoreIdentity> {
        None
    }
}

/// A sink that can be asked.
///
/// Every question but [`UsageStore::active_accounts`] names one account and sees its events only. Ranges are
/// `from ≤ time < to`, by the event's own time.
#[async_trait]
pub trait UsageStore: UsageSink {
    /// Sums over a range. They equal the sums over the events that [`UsageStore::recent`] lists for the same query. Of events
    /// that were pruned, those that a store has summed up stay in the sums.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn totals(&self, query: &UsageQuery) -> StoreResult<UsageTotals>;

    /// Sums over each grain of a range in UTC, in order of time, without grains that have no events.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) when the range has more than [`UsageQuery::MAX_POINTS`] grains.
    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>>;

    /// The events of a range, newest first (by time, then by id). Paging is stable while events arrive.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) for a cursor that this store did not make.
    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>>;

    /// Response times of the requests that reached the handler, in microseconds, at each of `quantiles` (0 to 1), by
    /// nearest rank: the smallest recorded time that at least this share of the requests did not exceed. A store that keeps
    /// times summed up may answer up to one percent more, never less. None when there are no such requests.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) for a quantile outside 0 to 1.
    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>>;

    /// Sums by the values of a facet over a range, those with the most requests first; equals in any order. At most `limit`,
    /// which is brought between 1 and [`UsageQuery::MAX_TOP`]. The sums of all values together are the
    /// [totals](UsageStore::totals).
    ///
    /// # Errors
    /// When the store can't tell.
    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>>;

    /// How many different accounts have events in each day or week that begins in a range of days, in order of time, without
    /// those in which there are none. A day counts when its midnight UTC lies in the range, and a week has the days of it
    /// that do.
    ///
    /// This is the operator's question: it looks at all accounts, and tells their number only.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) when the range has more than [`UsageQuery::MAX_POINTS`] days.
    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>>;

    /// Removes events older than `before`, of all accounts, oldest first, at most `limit` of them, and answers how many
    /// it removed. Counters, sums of closed periods and batch ids stay.
    ///
    /// # Errors
    /// When the store can't be reached; the call can be repeated.
    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64>;
}
