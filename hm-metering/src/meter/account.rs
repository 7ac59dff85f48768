//! An account as the engine keeps it in memory: its plan, its rate limits' state, its counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::bucket::Bucket;
use super::report::{AccountShapes, Shapes};
use super::slots::Slots;
use crate::id::AccountId;
use crate::plan::{Plan, Quota};
use crate::quota::{Counter, LeaseBook, nanos};
use crate::sync::{AtomicBool, AtomicU64};
use crate::time::Timestamp;

/// An account's limits and their state.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) anchor: Timestamp,
    pub(crate) buckets: Arc<[Bucket]>,
    pub(crate) slots: Slots,
    pub(crate) quotas: Box<[(Quota, Arc<Counter>)]>,
    /// What answers say of the limits.
    pub(crate) shapes: AccountShapes,
    /// When the plan was last asked for, in nanoseconds of the monotonic clock.
    asked_at: AtomicU64,
    /// Set when the account changed: entries that point here are asked for again.
    stale: AtomicBool,
}

impl Account {
    /// `before` is what was known of the account: as long as its rates stay, their state does, and requests under way
    /// go on counting.
    pub(crate) fn new(
        id: AccountId,
        plan: Arc<Plan>,
        anchor: Timestamp,
        book: Option<&LeaseBook>,
        shapes: &Arc<Shapes>,
        before: Option<&Self>,
    ) -> Self {
        let counters = |book: &LeaseBook| {
            plan.quotas
                .iter()
                .map(|quota| (quota.clone(), book.counter(id, &quota.meter)))
                .collect()
        };
        let kept = before.filter(|before| before.plan.rates == plan.rates);
        Self {
            id,
            anchor,
            buckets: kept.map_or_else(
                || plan.rates.iter().map(Bucket::new).collect(),
                |before| Arc::clone(&before.buckets),
            ),
            slots: Slots::new(&plan.concurrency, before.map(|before| &before.slots)),
            quotas: book.map(counters).unwrap_or_default(),
            shapes: AccountShapes::new(shapes, plan.quotas.len()),
            plan,
            asked_at: AtomicU64::new(0),
            stale: AtomicBool::new(false),
        }
    }

    /// Whether it says the same of an account as this plan and anchor.
    pub(crate) fn is_same(&self, plan: &Plan, anchor: Timestamp) -> bool {
        *self.plan == *plan && self.anchor == anchor
    }

    pub(crate) fn asked_at(&self) -> Duration {
        Duration::from_nanos(self.asked_at.load(Ordering::Acquire))
    }

    pub(crate) fn note_asked(&self, at: Duration) {
        self.asked_at.fetch_max(nanos(at), Ordering::AcqRel);
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    pub(crate) fn set_stale(&self) {
        self.stale.store(true, Ordering::Release);
    }
}
