//! An account as the engine keeps it in memory: its plan, its rate limits' state, its counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::report::{AccountShapes, Shapes};
use crate::id::AccountId;
use crate::plan::{Plan, Quota, RateLimit};
use crate::quota::{Counter, LeaseBook, nanos};
use crate::rate::gcra::{Check, Rate};
use crate::sync::{AtomicBool, AtomicU64};
use crate::time::Timestamp;

/// A rate limit and its state.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) limit: RateLimit,
    rate: Rate,
    full_at: AtomicU64,
}

impl Bucket {
    pub(crate) fn new(limit: &RateLimit) -> Self {
        Self {
            rate: Rate::new(limit.limit, limit.per, limit.burst),
            limit: limit.clone(),
            full_at: AtomicU64::new(0),
        }
    }

    /// What a request would meet now; takes nothing.
    pub(crate) fn peek(&self, now: u64, units: u32) -> Check {
        self.rate.check(self.full_at.load(Ordering::Acquire), now, units)
    }

    /// Takes `units`, or nothing.
    pub(crate) fn take(&self, now: u64, units: u32) -> Check {
        let mut full_at = self.full_at.load(Ordering::Acquire);
        loop {
            let check = self.rate.check(full_at, now, units);
            let Check::Fits(next) = check else {
                return check;
            };
            match self
                .full_at
                .compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return check,
                Err(changed) => full_at = changed,
            }
        }
    }

    /// Undoes a [`Bucket::take`] of a moment ago.
    pub(crate) fn put_back(&self, units: u32) {
        let weight = self.rate.weight(units);
        // The closure always answers, so there is no error to handle.
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| {
                Some(at.saturating_sub(weight))
            });
    }

    /// How many units could be taken now.
    pub(crate) fn remaining(&self, now: u64) -> u32 {
        self.rate.remaining(self.full_at.load(Ordering::Acquire), now)
    }
}

/// An account's limits and their state.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) plan: Arc<Plan>,
    pub(crate) anchor: Timestamp,
    pub(crate) buckets: Arc<[Bucket]>,
    pub(crate) quotas: Box<[(Quota, Arc<Counter>)]>,
    /// What answers say of the limits.
    pub(crate) shapes: AccountShapes,
    /// When the plan was last asked for, in nanoseconds of the monotonic clock.
    asked_at: AtomicU64,
    /// Set when the account changed: entries that point here are asked for again.
    stale: AtomicBool,
}

impl Account {
    /// `before` is what was known of the account: as long as its rates stay, their state does.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(limit: u32) -> Bucket {
        Bucket::new(&RateLimit {
            name: "second".to_owned(),
            limit,
            per: Duration::from_secs(1),
            burst: limit,
        })
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let bucket = bucket(2);
        let now = 10_000_000_000;
        assert!(matches!(bucket.take(now, 2), Check::Fits(_)));
        assert!(matches!(bucket.peek(now, 1), Check::Later(_)));
        bucket.put_back(1);
        assert_eq!(bucket.remaining(now), 1);
        assert!(matches!(bucket.take(now, 1), Check::Fits(_)));
    }

    #[test]
    fn threads_take_no_more_than_the_burst() {
        let bucket = bucket(100);
        let now = 10_000_000_000;
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..200)
                            .filter(|_| matches!(bucket.take(now, 1), Check::Fits(_)))
                            .count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }
}
