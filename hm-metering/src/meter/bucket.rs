//! A rate limit's bucket, and taking from several of them or from none.

use std::iter::zip;
use std::sync::atomic::Ordering;

use crate::heap;
use crate::plan::RateLimit;
use crate::rate::gcra::{Check, Rate};
use crate::sync::AtomicU64;

/// A rate limit, without a state: the same for all that it holds for.
#[derive(Debug)]
pub(crate) struct BucketTerms {
    pub(crate) limit: RateLimit,
    rate: Rate,
}

/// Several rate limits and their states, which are kept apart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Buckets<'a> {
    terms: &'a [BucketTerms],
    full_at: &'a [AtomicU64],
}

/// A rate limit and its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket<'a> {
    terms: &'a BucketTerms,
    full_at: &'a AtomicU64,
}

/// Rate limits that hold for one only, with their states.
#[derive(Debug)]
pub(crate) struct OwnBuckets {
    terms: Box<[BucketTerms]>,
    full_at: Box<[AtomicU64]>,
}

/// The bucket without room, by its position, that makes the caller wait longest.
pub(crate) type Violated = (usize, Check);

impl BucketTerms {
    pub(crate) fn new(limit: &RateLimit) -> Self {
        Self {
            rate: Rate::new(limit.limit, limit.per, limit.burst),
            limit: limit.clone(),
        }
    }
}

impl OwnBuckets {
    pub(crate) fn new(limits: &[RateLimit]) -> Self {
        Self {
            terms: limits.iter().map(BucketTerms::new).collect(),
            full_at: limits.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) const fn get(&self) -> Buckets<'_> {
        Buckets::new(&self.terms, &self.full_at)
    }

    /// What they take of memory behind an `Arc`, about.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.terms.iter().map(|terms| heap::block(terms.limit.name.len()));
        heap::shared(size_of::<Self>())
            + heap::list(&self.terms)
            + heap::list(&self.full_at)
            + names.sum::<usize>()
    }
}

impl<'a> Buckets<'a> {
    /// One state for each limit; a limit without a state does not hold.
    pub(crate) const fn new(terms: &'a [BucketTerms], full_at: &'a [AtomicU64]) -> Self {
        Self { terms, full_at }
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Bucket<'a>> + Clone {
        zip(self.terms, self.full_at).map(|(terms, full_at)| Bucket { terms, full_at })
    }

    pub(crate) const fn len(self) -> usize {
        self.terms.len()
    }
}

impl<'a> Bucket<'a> {
    /// What it allows.
    pub(crate) const fn limit(self) -> &'a RateLimit {
        &self.terms.limit
    }

    /// Takes `units`, or nothing.
    pub(crate) fn take(self, now: u64, units: u32) -> Check {
        let mut full_at = self.full_at.load(Ordering::Acquire);
        loop {
            let check = self.terms.rate.check(full_at, now, units);
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

    /// Undoes a take of a moment ago.
    pub(crate) fn put_back(self, units: u32) {
        let weight = self.terms.rate.weight(units);
        // The closure always answers, so there is no error to handle.
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| {
                Some(at.saturating_sub(weight))
            });
    }

    /// What a request for `units` would meet now. Takes nothing.
    pub(crate) fn peek(self, now: u64, units: u32) -> Check {
        self.terms
            .rate
            .check(self.full_at.load(Ordering::Acquire), now, units)
    }

    /// How many units could be taken now.
    pub(crate) fn remaining(self, now: u64) -> u32 {
        self.terms
            .rate
            .remaining(self.full_at.load(Ordering::Acquire), now)
    }

    /// Whether a whole burst could be taken now, so that one without a state would do as well.
    pub(crate) fn is_full(self, now: u64) -> bool {
        self.full_at.load(Ordering::Acquire) <= now
    }

    #[cfg(test)]
    pub(crate) fn state(self) -> u64 {
        self.full_at.load(Ordering::Acquire)
    }
}

/// Looks whether every bucket of both has room for `units`. Takes nothing.
#[inline]
pub(crate) fn look(both: [Buckets<'_>; 2], now: u64, units: u32) -> Result<(), Violated> {
    let has_room = |bucket: Bucket<'_>| matches!(bucket.peek(now, units), Check::Fits(_));
    if both.iter().all(|buckets| buckets.iter().all(has_room)) {
        Ok(())
    } else {
        look_longest(both, now, units)
    }
}

#[cold]
fn look_longest([account, own]: [Buckets<'_>; 2], now: u64, units: u32) -> Result<(), Violated> {
    let checks = account
        .iter()
        .chain(own.iter())
        .map(|bucket| bucket.peek(now, units));
    let without_room = checks
        .enumerate()
        .filter(|(_, check)| !matches!(check, Check::Fits(_)));
    // Of several that wait equally long it is the first.
    let longest = without_room.reduce(|longest, other| {
        if wait(other.1) > wait(longest.1) {
            other
        } else {
            longest
        }
    });
    longest.map_or(Ok(()), Err)
}

/// Takes `units` from every bucket of both, or from none. Who has [looked](look) finds room, unless somebody else was faster.
#[inline]
pub(crate) fn take(both: [Buckets<'_>; 2], now: u64, units: u32) -> Result<(), Violated> {
    let mut taken = 0;
    for buckets in both {
        for bucket in buckets.iter() {
            let check = bucket.take(now, units);
            if !matches!(check, Check::Fits(_)) {
                let [account, own] = both;
                put_back(account.iter().chain(own.iter()).take(taken), units);
                return Err((taken, check));
            }
            taken += 1;
        }
    }
    Ok(())
}

/// Undoes a [`take`] of a moment ago.
pub(crate) fn put_back<'a>(buckets: impl Iterator<Item = Bucket<'a>>, units: u32) {
    buckets.for_each(|bucket| bucket.put_back(units));
}

const fn wait(check: Check) -> u64 {
    match check {
        Check::Fits(_) => 0,
        Check::Later(wait) => wait,
        Check::Never => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: u64 = 10_000_000_000;

    fn buckets(limits: &[u32]) -> OwnBuckets {
        let limit = |limit: &u32| RateLimit {
            name: "second".to_owned(),
            limit: *limit,
            per: Duration::from_secs(1),
            burst: *limit,
        };
        OwnBuckets::new(&limits.iter().map(limit).collect::<Vec<_>>())
    }

    fn remaining(buckets: Buckets<'_>) -> Vec<u32> {
        buckets.iter().map(|bucket| bucket.remaining(NOW)).collect()
    }

    fn state(buckets: Buckets<'_>) -> Vec<u64> {
        buckets.iter().map(Bucket::state).collect()
    }

    fn taken(buckets: Buckets<'_>, units: u32) -> Result<(), Violated> {
        look([buckets, Buckets::default()], NOW, units)?;
        take([buckets, Buckets::default()], NOW, units)
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let own = buckets(&[2]);
        let buckets = own.get();
        assert!(taken(buckets, 2).is_ok());
        assert!(matches!(taken(buckets, 1), Err((0, Check::Later(_)))));
        put_back(buckets.iter(), 1);
        assert_eq!(remaining(buckets), [1]);
        assert!(taken(buckets, 1).is_ok());
    }

    #[test]
    fn what_one_bucket_has_no_room_for_is_taken_from_none() {
        let own = buckets(&[9, 2, 5, 1]);
        let buckets = own.get();
        assert!(taken(buckets, 1).is_ok());
        let before = state(buckets);
        assert!(matches!(taken(buckets, 1), Err((3, Check::Later(_)))));
        assert!(matches!(taken(buckets, 2), Err((3, Check::Never))));
        assert!(matches!(taken(buckets, 6), Err((_, Check::Never))));
        assert_eq!(state(buckets), before);
    }

    #[test]
    fn one_that_was_overtaken_since_the_look_takes_from_none() {
        let (first, second) = (buckets(&[9]), buckets(&[5, 2]));
        let both = [first.get(), second.get()];
        assert!(take(both, NOW, 1).is_ok());
        assert!(look(both, NOW, 1).is_ok());
        assert!(taken(second.get(), 1).is_ok());
        let before = both.map(state);
        assert!(matches!(take(both, NOW, 1), Err((2, Check::Later(_)))));
        assert!(matches!(look(both, NOW, 1), Err((2, Check::Later(_)))));
        assert_eq!(both.map(state), before);
    }

    #[test]
    fn threads_take_no_more_than_the_burst() {
        let own = buckets(&[100, 150]);
        let buckets = own.get();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..200).filter(|_| taken(buckets, 1).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
        assert_eq!(remaining(buckets), [0, 50], "those who were refused took nothing");
    }
}
