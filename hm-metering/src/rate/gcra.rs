//! The generic cell rate algorithm (ITU-T I.371), as pure arithmetic.
//!
//! A bucket is one number: the *theoretical arrival time*, the moment at which it will be full again. A request of
//! `n` units fits if the bucket, after taking them, would be full again within the time that a whole burst takes to
//! flow back.

use std::time::Duration;

/// How a bucket flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Nanoseconds in which one unit flows back; at least one.
    interval: u64,
    /// Nanoseconds in which a whole burst flows back.
    tolerance: u64,
    burst: u32,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It fits; the bucket's state becomes this.
    Fits(u64),
    /// It does not fit now, but will after this many nanoseconds if nothing else comes.
    Later(u64),
    /// It is greater than the burst and will never fit.
    Never,
}

impl Rate {
    /// `limit` units flow back in every `per`, and `burst` may be taken at once. A limit or burst of zero is one. A burst
    /// flows back in 146 years at most.
    #[must_use]
    pub fn new(limit: u32, per: Duration, burst: u32) -> Self {
        let per = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX);
        let burst = burst.max(1);
        // Moments have to be told apart when a burst is added to them.
        let longest = u64::MAX / 4 / u64::from(burst);
        let interval = (per / u64::from(limit.max(1))).clamp(1, longest);
        Self {
            interval,
            tolerance: interval.saturating_mul(u64::from(burst)),
            burst,
        }
    }

    /// How much may be taken at once.
    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Whether `units` fit into a bucket in state `full_at` at the moment `now`, both in nanoseconds.
    #[must_use]
    pub fn check(&self, full_at: u64, now: u64, units: u32) -> Check {
        if units > self.burst {
            return Check::Never;
        }
        let takes = self.interval.saturating_mul(u64::from(units));
        let after = full_at.max(now).saturating_add(takes);
        let latest = now.saturating_add(self.tolerance);
        if after <= latest {
            Check::Fits(after)
        } else {
            Check::Later(after - latest)
        }
    }

    /// How many units could be taken at `now`.
    #[must_use]
    pub fn remaining(&self, full_at: u64, now: u64) -> u32 {
        let missing = full_at.saturating_sub(now);
        let left = self.tolerance.saturating_sub(missing) / self.interval;
        u32::try_from(left).unwrap_or(u32::MAX).min(self.burst)
    }

    /// The nanoseconds that `units` take.
    #[must_use]
    pub const fn weight(&self, units: u32) -> u64 {
        self.interval.saturating_mul(units as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn taken(rate: &Rate, state: &mut u64, now: u64, units: u32) -> bool {
        match rate.check(*state, now, units) {
            Check::Fits(next) => {
                *state = next;
                true
            }
            Check::Later(_) | Check::Never => false,
        }
    }

    #[test]
    fn a_rate_over_all_time_lets_one_burst_pass() {
        for (limit, burst) in [(1, 1), (1, 1_000), (1_000, 1), (u32::MAX, 7), (1, u32::MAX)] {
            let rate = Rate::new(limit, Duration::MAX, burst);
            let (mut state, now) = (0, 100 * SECOND);
            assert!(taken(&rate, &mut state, now, burst), "{limit} {burst}");
            for later in [0, SECOND] {
                assert!(!taken(&rate, &mut state, now + later, burst), "{limit} {burst}");
            }
            assert_eq!(rate.remaining(state, now), 0);
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let rate = Rate::new(10, Duration::from_secs(1), 5);
        let mut state = 0;
        assert_eq!(
            (0..20)
                .filter(|_| taken(&rate, &mut state, 100 * SECOND, 1))
                .count(),
            5
        );
        assert_eq!(rate.check(state, 100 * SECOND, 1), Check::Later(SECOND / 10));
        assert!(taken(&rate, &mut state, 100 * SECOND + SECOND / 10, 1));
        assert!(!taken(&rate, &mut state, 100 * SECOND + SECOND / 10, 1));
        assert_eq!(rate.remaining(state, 200 * SECOND), 5);
    }

    #[test]
    fn more_than_the_burst_never_fits() {
        assert_eq!(
            Rate::new(1, Duration::from_secs(1), 3).check(0, 0, 4),
            Check::Never
        );
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        let rate = Rate::new(1, Duration::MAX, u32::MAX);
        assert!(matches!(rate.check(u64::MAX, u64::MAX, u32::MAX), Check::Fits(_)));
        assert_eq!(Rate::new(u32::MAX, Duration::from_nanos(1), 0).burst(), 1);
    }

    /// A bucket as a leaking reservoir of exact level, the definition that GCRA computes in one number.
    struct Reservoir {
        level: u128,
        at: u64,
    }

    impl Reservoir {
        fn take(&mut self, interval: u64, burst: u32, now: u64, units: u32) -> bool {
            let now = now.max(self.at);
            self.level = self.level.saturating_sub(u128::from(now - self.at));
            self.at = now;
            let after = self.level + u128::from(interval) * u128::from(units);
            let fits = after <= u128::from(interval) * u128::from(burst);
            if fits {
                self.level = after;
            }
            fits
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_leaking_reservoir(
            limit in 1_u32..1_000,
            burst in 1_u32..50,
            steps in prop::collection::vec((0_u64..200_000_000, 0_u32..60), 1..200),
        ) {
            let rate = Rate::new(limit, Duration::from_secs(1), burst);
            let mut naive = Reservoir { level: 0, at: 0 };
            let (mut state, mut now) = (0, 0);
            for (gap, units) in steps {
                now += gap;
                let fits = taken(&rate, &mut state, now, units);
                prop_assert_eq!(fits, naive.take(rate.interval, burst, now, units));
                if let Check::Later(wait) = rate.check(state, now, units) {
                    prop_assert!(matches!(rate.check(state, now + wait, units), Check::Fits(_)));
                    prop_assert!(!matches!(rate.check(state, now + wait - 1, units), Check::Fits(_)));
                }
            }
        }
    }
}
