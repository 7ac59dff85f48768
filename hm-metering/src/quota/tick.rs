//! A moment in half the room.

use std::num::NonZeroU32;
use std::time::Duration;

/// A moment on the monotonic clock, to two milliseconds. It comes again after 49 days: one that is older than that looks
/// younger than it is, so that it is good for judging how busy something is, and for nothing that must be exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(NonZeroU32);

impl Tick {
    #[expect(clippy::cast_possible_truncation, reason = "it comes again, as it says")]
    pub(super) const fn at(now: Duration) -> Self {
        // The lowest bit stands for nothing and keeps it from being zero.
        Self(NonZeroU32::MIN.saturating_add(now.as_millis() as u32 & !1))
    }

    /// The time from then until `now`.
    pub(super) fn age(self, now: Duration) -> Duration {
        let age = Self::at(now).0.get().wrapping_sub(self.0.get());
        Duration::from_millis(age.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_age_is_known_for_weeks_from_whatever_beginning() {
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        for weeks in 0..60 {
            let then = week * weeks;
            for age in [Duration::ZERO, Duration::from_secs(5), week, week * 7] {
                assert_eq!(Tick::at(then).age(then + age), age);
            }
        }
    }
}
