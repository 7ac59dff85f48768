//! Numbers that look random and come again with the same seed.

use std::ops::Range;

/// A row of numbers: SplitMix64, by Steele, Lea and Flood (2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The row of the seed in `HM_TEST_SEED`; of a fixed one unless it is set. Says which on standard error, which the test
    /// runner shows when the test fails.
    ///
    /// # Panics
    ///
    /// When the variable is no number.
    #[must_use]
    pub fn from_environment() -> Self {
        let seed = seed();
        eprintln!("HM_TEST_SEED={seed}");
        Self(seed)
    }

    /// Another row, for somebody who counts on their own.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.within(0..u64::MAX))
    }

    /// The next number in a range.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn seed() -> u64 {
    let seed = std::env::var("HM_TEST_SEED").ok();
    seed.map_or(20_261_125, |seed| seed.parse().expect("HM_TEST_SEED is a number"))
}

/// How many rounds a test with kills has: `HM_TEST_ROUNDS`, or else `usual`.
///
/// # Panics
///
/// When the variable is no number.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
pub fn rounds(usual: usize) -> usize {
    let rounds = std::env::var("HM_TEST_ROUNDS").ok();
    rounds.map_or(usual, |rounds| {
        rounds.parse().expect("HM_TEST_ROUNDS is a number")
    })
}
