//! Several rates with costs at once, against reservoirs that leak as the definition says.

use std::collections::HashMap;
use std::time::Duration;

use hm_metering::rate::gcra::Rate;
use hm_metering::rate::{RateCheck, RateDecision};
use hm_metering::{MemoryRateLimiter, RateLimiter};
use proptest::prelude::*;

/// What is known of a rate: nanoseconds for a unit, and how many units may be taken at once.
#[derive(Clone, Copy, Debug)]
struct Flow {
    interval: u64,
    burst: u32,
}

impl Flow {
    fn rate(self) -> Rate {
        Rate::new(1, Duration::from_nanos(self.interval), self.burst)
    }
}

/// The levels of reservoirs in nanoseconds of outflow, computed exactly and one after the other.
#[derive(Clone, Debug, Default)]
struct Reservoirs {
    levels: HashMap<usize, u128>,
    now: u64,
}

impl Reservoirs {
    fn check(&mut self, flows: &[Flow], wishes: &[(usize, u32)], now: u64) -> RateDecision {
        let now = now.max(self.now);
        let passed = u128::from(now - self.now);
        self.now = now;
        self.levels
            .values_mut()
            .for_each(|level| *level = level.saturating_sub(passed));
        let mut levels = self.levels.clone();
        let mut waits = Vec::new();
        for (limit, (bucket, units)) in wishes.iter().enumerate() {
            let Flow { interval, burst } = flows[*bucket];
            let level = levels.entry(*bucket).or_default();
            let after = *level + u128::from(interval) * u128::from(*units);
            let room = u128::from(interval) * u128::from(burst);
            if *units > burst {
                waits.push((u128::MAX, limit));
            } else if after > room {
                waits.push((after - room, limit));
            } else {
                *level = after;
            }
        }
        // Of equal waits the first is named.
        let longest = waits.iter().rev().max_by_key(|(wait, _)| *wait);
        match longest {
            None => {
                self.levels = levels;
                RateDecision::Allowed
            }
            Some((wait, limit)) => RateDecision::Denied {
                limit: *limit,
                retry_after: u64::try_from(*wait).ok().map(Duration::from_nanos),
            },
        }
    }
}

fn flow() -> impl Strategy<Value = Flow> {
    (prop_oneof![1_u64..20, 1_000_000..50_000_000_u64], 1_u32..40)
        .prop_map(|(interval, burst)| Flow { interval, burst })
}

/// Wishes for up to four buckets, the same one twice among them, and how time moves before: back as well.
fn step() -> impl Strategy<Value = (i64, Vec<(usize, u32)>)> {
    let gap = prop_oneof![
        4 => Just(0),
        4 => 0_i64..100,
        8 => 0_i64..80_000_000,
        1 => -50_000_000_i64..0,
        1 => 0_i64..20_000_000_000,
    ];
    (gap, prop::collection::vec((0_usize..4, 0_u32..44), 0..5))
}

proptest! {
    // About 200,000 decisions.
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn several_rates_with_costs_agree_with_leaking_reservoirs(
        flows in prop::collection::vec(flow(), 4),
        steps in prop::collection::vec(step(), 60..140),
    ) {
        let limiter = MemoryRateLimiter::new();
        let mut naive = Reservoirs::default();
        let mut now = 1_000_000_000_u64;
        for (gap, wishes) in steps {
            now = now.saturating_add_signed(gap);
            let checks: Vec<_> = wishes
                .iter()
                .map(|(bucket, units)| RateCheck {
                    bucket: bucket.to_string(),
                    rate: flows[*bucket].rate(),
                    units: *units,
                })
                .collect();
            let decision = limiter.check(&checks, Duration::from_nanos(now));
            let decision = futures_util::FutureExt::now_or_never(decision).unwrap().unwrap();
            prop_assert_eq!(decision, naive.check(&flows, &wishes, now));
        }
    }
}
