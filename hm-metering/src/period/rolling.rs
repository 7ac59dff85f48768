//! Windows that move with time.

use std::num::NonZeroU32;

use thiserror::Error;

/// A window that moves with time, in steps of a grain.
///
/// Time is cut into sub-periods of one grain, counted from the Unix epoch, and units are counted in each. The quota
/// holds for the sum over the sub-periods that still count: the present one, and those of which any moment is younger
/// than the window's length. So a unit counts for at least the length and at most a grain longer, and in no stretch
/// of that length are more units used than the limit allows. A finer grain gives units back more evenly and makes
/// more counters.
///
/// ```
/// use std::num::NonZeroU32;
/// use hm_metering::period::{PeriodRule, Rolling};
/// use hm_metering::Timestamp;
///
/// // 24 hours by the hour.
/// let hours = |count: u32| NonZeroU32::new(count * 3_600).unwrap();
/// let rule = PeriodRule::Rolling(Rolling::new(hours(24), hours(1))?);
/// let anchor = Timestamp::default();
/// let at = "2026-11-25T13:14:15Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap().into();
/// assert_eq!(rule.period_at(at, anchor).start.to_string(), "2026-11-25T13:00:00Z");
/// assert_eq!(rule.period_at(at, anchor).end.to_string(), "2026-11-25T14:00:00Z");
/// // What was used yesterday from 13:00 to 14:00 may be younger than 24 hours, so it counts.
/// assert_eq!(rule.window_start(at, anchor).to_string(), "2026-11-24T13:00:00Z");
/// # Ok::<(), hm_metering::period::RollingError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rolling {
    length: NonZeroU32,
    grain: NonZeroU32,
}

/// Why a window can't roll like this.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum RollingError {
    /// The length is not a whole number of grains.
    #[error("a window of {length} seconds is no whole number of grains of {grain} seconds")]
    NotWhole {
        /// The window's length in seconds.
        length: u32,
        /// The grain in seconds.
        grain: u32,
    },
    /// There would be more sub-periods than [`Rolling::MAX_GRAINS`].
    #[error(
        "a window of {length} seconds has more than {max} grains of {grain} seconds",
        max = Rolling::MAX_GRAINS
    )]
    TooFine {
        /// The window's length in seconds.
        length: u32,
        /// The grain in seconds.
        grain: u32,
    },
}

impl Rolling {
    /// The most grains in a window: a day by the minute.
    pub const MAX_GRAINS: u32 = 1_440;

    /// A window of `length_seconds` that moves by `grain_seconds`.
    ///
    /// # Errors
    /// When the length is not a whole number of grains, or of more than [`Rolling::MAX_GRAINS`].
    pub fn new(length_seconds: NonZeroU32, grain_seconds: NonZeroU32) -> Result<Self, RollingError> {
        let (length, grain) = (length_seconds.get(), grain_seconds.get());
        if length % grain != 0 {
            Err(RollingError::NotWhole { length, grain })
        } else if length / grain > Self::MAX_GRAINS {
            Err(RollingError::TooFine { length, grain })
        } else {
            Ok(Self {
                length: length_seconds,
                grain: grain_seconds,
            })
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn length_seconds(self) -> NonZeroU32 {
        self.length
    }

    /// The length of a sub-period in seconds.
    #[must_use]
    pub const fn grain_seconds(self) -> NonZeroU32 {
        self.grain
    }

    /// How many sub-periods count at any time: those of the length, and the one that is only partly older.
    #[must_use]
    pub const fn sub_periods(self) -> u32 {
        self.length.get() / self.grain.get() + 1
    }
}
