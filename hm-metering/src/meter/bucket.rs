//! A rate limit's bucket, and taking from several of them or from none.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::plan::RateLimit;
use crate::rate::gcra::{Check, Rate};
use crate::sync::AtomicU64;

/// A rate limit and its state.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) limit: RateLimit,
    rate: Rate,
    full_at: AtomicU64,
}

/// What was seen of several buckets that all had room.
pub(crate) type Seen = SmallVec<[u64; 4]>;

/// The bucket without room, by its position, that makes the caller wait longest.
pub(crate) type Violated = (usize, Check);

impl Bucket {
    pub(crate) fn new(limit: &RateLimit) -> Self {
        Self {
            rate: Rate::new(limit.limit, limit.per, limit.burst),
            limit: limit.clone(),
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes `units`, or nothing.
    pub(crate) fn take(&self, now: u64, units: u32) -> Check {
        self.take_seen(self.full_at.load(Ordering::Acquire), now, units)
    }

    /// The same, if its state is most likely what was seen a moment ago.
    fn take_seen(&self, seen: u64, now: u64, units: u32) -> Check {
        let mut full_at = seen;
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

    /// Undoes a take of a moment ago.
    pub(crate) fn put_back(&self, units: u32) {
        let weight = self.rate.weight(units);
        // The closure always answers, so there is no error to handle.
        let _ = self
            .full_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |at| {
                Some(at.saturating_sub(weight))
            });
    }

    /// What a request for `units` would meet now. Takes nothing.
    pub(crate) fn peek(&self, now: u64, units: u32) -> Check {
        self.rate.check(self.full_at.load(Ordering::Acquire), now, units)
    }

    /// How many units could be taken now.
    pub(crate) fn remaining(&self, now: u64) -> u32 {
        self.rate.remaining(self.full_at.load(Ordering::Acquire), now)
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> u64 {
        self.full_at.load(Ordering::Acquire)
    }
}

/// Looks whether every bucket has room for `units`. Takes nothing.
pub(crate) fn look<'a>(
    buckets: impl Iterator<Item = &'a Bucket>,
    now: u64,
    units: u32,
) -> Result<Seen, Violated> {
    let mut seen = Seen::new();
    let mut violated: Option<Violated> = None;
    for (position, bucket) in buckets.enumerate() {
        let full_at = bucket.full_at.load(Ordering::Acquire);
        match bucket.rate.check(full_at, now, units) {
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
    buckets: impl Iterator<Item = &'a Bucket> + Clone,
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
pub(crate) fn put_back<'a>(buckets: impl Iterator<Item = &'a Bucket>, units: u32) {
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

    fn bucket(limit: u32) -> Bucket {
        Bucket::new(&RateLimit {
            name: "second".to_owned(),
            limit,
            per: Duration::from_secs(1),
            burst: limit,
        })
    }

    fn taken(buckets: &[Bucket], units: u32) -> Result<(), Violated> {
        let seen = look(buckets.iter(), NOW, units)?;
        take(buckets.iter(), &seen, NOW, units)
    }

    #[test]
    fn what_is_put_back_can_be_taken_again() {
        let buckets = [bucket(2)];
        assert!(taken(&buckets, 2).is_ok());
        assert!(matches!(taken(&buckets, 1), Err((0, Check::Later(_)))));
        buckets[0].put_back(1);
        assert_eq!(buckets[0].remaining(NOW), 1);
        assert!(taken(&buckets, 1).is_ok());
    }

    #[test]
    fn what_one_bucket_has_no_room_for_is_taken_from_none() {
        let buckets = [bucket(9), bucket(2), bucket(5), bucket(1)];
        assert!(taken(&buckets, 1).is_ok());
        let before: Vec<_> = buckets.iter().map(Bucket::state).collect();
        assert!(matches!(taken(&buckets, 1), Err((3, Check::Later(_)))));
        assert!(matches!(taken(&buckets, 2), Err((3, Check::Never))));
        assert!(matches!(taken(&buckets, 6), Err((_, Check::Never))));
        assert_eq!(buckets.iter().map(Bucket::state).collect::<Vec<_>>(), before);
    }

    #[test]
    fn one_that_was_overtaken_since_the_look_takes_from_none() {
        let buckets = [bucket(9), bucket(1)];
        let seen = look(buckets.iter(), NOW, 1).unwrap();
        assert!(taken(&buckets, 1).is_ok());
        let before: Vec<_> = buckets.iter().map(Bucket::state).collect();
        assert!(matches!(
            take(buckets.iter(), &seen, NOW, 1),
            Err((1, Check::Later(_)))
        ));
        assert_eq!(buckets.iter().map(Bucket::state).collect::<Vec<_>>(), before);
    }

    #[test]
    fn threads_take_no_more_than_the_burst() {
        let buckets = [bucket(100), bucket(150)];
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..200).filter(|_| taken(&buckets, 1).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
        assert_eq!(
            (buckets[0].remaining(NOW), buckets[1].remaining(NOW)),
            (0, 50),
            "those who were refused took nothing"
        );
    }
}
