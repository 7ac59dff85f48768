//! Rate limits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreResult;
use crate::rate::gcra::Check;
use crate::rate::{RateCheck, RateDecision, RateLimiter};

/// Rate limits in the memory of this process. Clones share their buckets.
///
/// It keeps a bounded number of buckets. When there are more, those that are full again go first, which loses
/// nothing, and then those that would be full soonest, which lets their callers start anew.
#[derive(Clone)]
pub struct MemoryRateLimiter {
    buckets: Arc<Mutex<Buckets>>,
}

struct Buckets {
    capacity: usize,
    /// The latest time that any call came with, in nanoseconds.
    now: u64,
    full_at: HashMap<String, u64>,
}

impl MemoryRateLimiter {
    /// How many buckets are kept unless said otherwise.
    pub const CAPACITY: usize = 100_000;

    /// A limiter whose buckets are all full.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::CAPACITY)
    }

    /// A limiter that keeps at most `buckets` buckets (at least one).
    #[must_use]
    pub fn with_capacity(buckets: usize) -> Self {
        let buckets = Buckets {
            capacity: buckets.max(1),
            now: 0,
            full_at: HashMap::new(),
        };
        Self {
            buckets: Arc::new(Mutex::new(buckets)),
        }
    }
}

impl Default for MemoryRateLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateLimiter").finish_non_exhaustive()
    }
}

impl Buckets {
    fn check(&mut self, checks: &[RateCheck], now: Duration) -> RateDecision {
        self.now = self.now.max(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let mut after: HashMap<&str, u64> = HashMap::with_capacity(checks.len());
        let mut longest: Option<(u64, usize)> = None;
        for (limit, check) in checks.iter().enumerate() {
            let bucket = check.bucket.as_str();
            let kept = || self.full_at.get(bucket).copied().unwrap_or(0);
            let full_at = after.get(bucket).copied().unwrap_or_else(kept);
            let wait = match check.rate.check(full_at, self.now, check.units) {
                Check::Fits(next) => {
                    after.insert(bucket, next);
                    continue;
                }
                Check::Later(wait) => wait,
                Check::Never => u64::MAX,
            };
            if longest.is_none_or(|(longest, _)| wait > longest) {
                longest = Some((wait, limit));
            }
        }
        if let Some((wait, limit)) = longest {
            return RateDecision::Denied {
                limit,
                retry_after: (wait != u64::MAX).then(|| Duration::from_nanos(wait)),
            };
        }
        for (bucket, full_at) in after {
            self.keep(bucket, full_at);
        }
        RateDecision::Allowed
    }

    fn keep(&mut self, bucket: &str, full_at: u64) {
        if let Some(kept) = self.full_at.get_mut(bucket) {
            *kept = full_at;
            return;
        }
        if full_at <= self.now {
            return;
        }
        if self.full_at.len() >= self.capacity {
            self.make_room();
        }
        self.full_at.insert(bucket.to_owned(), full_at);
    }

    /// An eighth goes at once, so that a flood of new buckets does not look at all of them each time.
    fn make_room(&mut self) {
        let now = self.now;
        self.full_at.retain(|_, full_at| *full_at > now);
        let room = (self.capacity / 8).max(1);
        let surplus = (self.full_at.len() + room).saturating_sub(self.capacity);
        if surplus == 0 {
            return;
        }
        let mut ends: Vec<u64> = self.full_at.values().copied().collect();
        let (_, last, _) = ends.select_nth_unstable(surplus - 1);
        let last = *last;
        let mut left = surplus;
        self.full_at.retain(|_, full_at| {
            let goes = *full_at <= last && left > 0;
            left -= usize::from(goes);
            !goes
        });
    }
}

#[async_trait]
impl RateLimiter for MemoryRateLimiter {
    async fn check(&self, checks: &[RateCheck], now: Duration) -> StoreResult<RateDecision> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(buckets.check(checks, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::gcra::Rate;

    #[test]
    fn a_flood_of_buckets_does_not_grow_the_limiter() {
        let limiter = MemoryRateLimiter::with_capacity(64);
        let mut buckets = limiter.buckets.lock().unwrap();
        let check = |bucket: String, units| RateCheck {
            bucket,
            rate: Rate::new(1, Duration::from_secs(1), 1_000),
            units,
        };
        let now = Duration::from_secs(1);
        assert_eq!(
            buckets.check(&[check("busy".to_owned(), 1_000)], now),
            RateDecision::Allowed
        );
        for number in 0..10_000 {
            assert_eq!(
                buckets.check(&[check(number.to_string(), 1)], now),
                RateDecision::Allowed
            );
            assert!(buckets.full_at.len() <= 64);
        }
        // The busiest bucket is the last one to be forgotten.
        let denied = buckets.check(&[check("busy".to_owned(), 1)], now);
        assert!(matches!(denied, RateDecision::Denied { .. }));
    }
}
