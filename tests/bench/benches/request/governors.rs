//! `governor` by itself: one keyed rate limiter, without HTTP.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hm_bench::cost::timed;
use hm_bench::rounds::{Contestant, GROUP};

pub(crate) struct Alone(DefaultKeyedRateLimiter<u32>);

impl Alone {
    pub(crate) fn new() -> Self {
        let limit = NonZeroU32::new(1_000_000_000).expect("not zero");
        Self(RateLimiter::keyed(Quota::per_second(limit)))
    }
}

impl Contestant for Alone {
    fn stages(&self) -> Vec<String> {
        vec!["governor alone".to_owned()]
    }

    fn run(&mut self, keys: &[u32], spent: &mut [Duration]) {
        for group in keys.chunks(GROUP) {
            timed(&mut spent[0], || {
                for key in group {
                    self.0.check_key(key).expect("nobody reaches the limit");
                }
            });
        }
    }
}
