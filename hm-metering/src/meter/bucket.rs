//! A rate limit's bucket, and taking from several of them or from none.

use std::iter::zip;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

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

/// What was seen of several buckets that all had room.
pub(crate) type Seen = SmallVec<[u64; 4]>;

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
        self.take_seen(self.full_at.load(Ordering::Acquire), now, units)
    }

    /// The same, if its state is most likely what was seen a moment ago.
    fn take_seen(self, seen: u64, now: u64, units: u32) -> Check {
        let mut full_at = seen;
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

/// Looks whether every bucket has room for `units`. Takes nothing.
pub(crate) fn look<'a>(
    buckets: impl Iterator<Item = Bucket<'a>>,
    now: u64,
    units: u32,
) -> Result<Seen, Violated> {
    let mut seen = Seen::new();
    let mut violated: Option<Violated> = None;
    for (position, bucket) in buckets.enumerate() {
        let full_at = bucket.full_at.load(Ordering::Acquire);
        match bucket.terms.rate.check(full_at, now, units) {
            Check::Fits(_) => seen.push(full_at),
            check if violated.is_none_or(|(_, longest)| wait(check) > wait(longest)) => {
                violated = Some((position, check));
            }
            _ => {}
        }
    }
    violated.map_or(Ok(seen), Err)
}

/// Takes `units` from every bucket that [`look`] has seen, or from none: somebody else may have been faster since.
pub(crate) fn take<'a>(
    buckets: impl Iterator<Item = Bucket<'a>> + Clone,
    seen: &Seen,
    now: u64,
    units: u32,
) -> Result<(), Violated> {
    for (position, (bucket, seen)) in buckets.clone().zip(seen).enumerate() {
        let check = bucket.take_seen(*seen, now, units);
        if !matches!(check, Check::Fits(_)) {
            put_back(buckets.take(position), units);
            return Err((position, check));
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
        let seen = look(buckets.iter(), NOW, units)?;
        take(buckets.iter(), &seen, NOW, units)
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
        let own = buckets(&[9, 1]);
        let buckets = own.get();
        let seen = look(buckets.iter(), NOW, 1).unwrap();
        assert!(taken(buckets, 1).is_ok());
        let before = state(buckets);
        assert!(matches!(
            take(buckets.iter(), &seen, NOW, 1),
            Err((1, Check::Later(_)))
        ));
        assert_eq!(state(buckets), before);
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
