//! Response times summed up so that any share of them can be asked for, and so that sums can be added.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use crate::error::Failure;

/// Times are told apart to one part in 128.
const DIGITS: u8 = 2;
/// The longest time that an event has.
const LONGEST: u64 = i64::MAX.unsigned_abs();

/// How many requests took how long, in microseconds.
///
/// Its bytes depend on the times alone, not on the order in which they were added or on what was added to what.
pub(in crate::store) struct Sketch(Histogram<u64>);

impl Sketch {
    pub(in crate::store) fn new() -> Result<Self, Failure> {
        // With one range for all: what grew in another order would be written otherwise.
        Histogram::new_with_max(LONGEST, DIGITS)
            .map(Self)
            .map_err(Failure::unreadable)
    }

    pub(super) fn of(times: &[u64]) -> Result<Vec<u8>, Failure> {
        if times.is_empty() {
            return Ok(Vec::new());
        }
        let mut sketch = Self::new()?;
        for time in times {
            sketch.add(*time)?;
        }
        sketch.bytes()
    }

    pub(in crate::store) fn add(&mut self, time: u64) -> Result<(), Failure> {
        self.0.record(time.min(LONGEST)).map_err(Failure::unreadable)
    }

    /// Adds what [`Sketch::bytes`] made.
    pub(in crate::store) fn add_bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let other: Histogram<u64> = Deserializer::new()
            .deserialize(&mut &*bytes)
            .map_err(Failure::unreadable)?;
        self.0.add(&other).map_err(Failure::unreadable)
    }

    /// One that has what both have.
    pub(super) fn merged(one: &[u8], other: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut sketch = Self::new()?;
        sketch.add_bytes(one)?;
        sketch.add_bytes(other)?;
        sketch.bytes()
    }

    pub(in crate::store) fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        if !self.0.is_empty() {
            V2Serializer::new()
                .serialize(&self.0, &mut bytes)
                .map_err(Failure::unreadable)?;
        }
        Ok(bytes)
    }

    pub(in crate::store) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time at `rank`, from one, of all times in their order: that time, or at most a part in 128 more.
    pub(super) fn at_rank(&self, rank: u64) -> u64 {
        let mut below = 0;
        for step in self.0.iter_recorded() {
            below += step.count_since_last_iteration();
            if below >= rank {
                return step.value_iterated_to();
            }
        }
        self.0.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times from a microsecond to the greatest number, by a fixed rule.
    fn times(seed: u64, number: usize) -> Vec<u64> {
        let mut state = seed;
        (0..number)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 1) >> (state % 60)
            })
            .collect()
    }

    #[test]
    fn a_time_is_at_most_one_part_in_128_too_great_and_never_too_small() {
        let mut all = times(1, 5_000);
        let mut sketch = Sketch::new().unwrap();
        for time in &all {
            sketch.add(*time).unwrap();
        }
        all.sort_unstable();
        for rank in 1..=all.len() {
            let (exact, near) = (all[rank - 1], sketch.at_rank(rank as u64));
            assert!(near >= exact && near - exact <= exact / 128, "{near} for {exact}");
        }
    }

    #[test]
    fn the_bytes_depend_on_the_times_alone() {
        let all = times(2, 600);
        let whole = Sketch::of(&all).unwrap();
        let reversed: Vec<u64> = all.iter().rev().copied().collect();
        assert_eq!(Sketch::of(&reversed).unwrap(), whole);
        for parts in [2, 3, 7, 600] {
            let mut merged = Vec::new();
            for part in all.chunks(all.len().div_ceil(parts)) {
                merged = Sketch::merged(&Sketch::of(part).unwrap(), &merged).unwrap();
            }
            assert_eq!(merged, whole, "{parts} parts");
        }
        assert_eq!(Sketch::merged(&[], &[]).unwrap(), Vec::<u8>::new());
    }

    #[test]
    fn usual_times_take_few_bytes() {
        let usual: Vec<u64> = (0..1_000).map(|number| 800 + number % 400).collect();
        let bytes = Sketch::of(&usual).unwrap().len();
        assert!(bytes < 200, "{bytes} bytes");
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let mut bytes = Sketch::of(&[1, 2, 3]).unwrap();
        bytes.truncate(bytes.len() - 1);
        assert!(Sketch::merged(&bytes, &[]).is_err());
        assert!(Sketch::merged(b"nonsense", &[]).is_err());
    }
}
