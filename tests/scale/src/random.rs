//! Numbers that look random and are the same in each run.

/// A row of numbers: SplitMix64, by Steele, Lea and Flood (2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The row that begins with `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// The next place among `places`, the first ones far more often than the last: a place's share falls with its number, as
    /// that of customers of a service does.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a power of the number of places that is less than it"
    )]
    pub fn skewed(&mut self, places: usize) -> usize {
        let unit = self.below(1 << 53) as f64 / (1_u64 << 53) as f64;
        // The inverse of a logarithmic share, which is that of Zipf's law with the exponent 1.
        ((places as f64).powf(unit) as usize)
            .saturating_sub(1)
            .min(places - 1)
    }
}
