//! The periods that quotas count in: pure arithmetic, time is an argument.
//!
//! # The rules
//!
//! | rule | a period | in a configuration |
//! | --- | --- | --- |
//! | [`AnchoredMonth`](PeriodRule::AnchoredMonth) | from the account's day of the month; 31, 28, 31 | `"anchored_month"` |
//! | [`CalendarMonth`](PeriodRule::CalendarMonth) | from the first of the month | `"calendar_month"` |
//! | [`Week`](PeriodRule::Week) | from Monday, or another day | `"week"`, `{ rule = "week", first_day = "sunday" }` |
//! | [`Day`](PeriodRule::Day) | from midnight | `"day"` |
//! | [`Hour`](PeriodRule::Hour) | from the full hour | `"hour"` |
//! | [`Fixed`](PeriodRule::Fixed) | so many seconds, counted from the Unix epoch | `{ rule = "fixed", seconds = 900 }` |
//! | [`AnchoredFixed`](PeriodRule::AnchoredFixed) | so many seconds, counted from when the account began | `{ rule = "anchored_fixed", days = 28 }` |
//! | [`Rolling`](PeriodRule::Rolling) | a window that moves, by sub-periods of a grain | `{ rule = "rolling", hours = 24, grain_minutes = 60 }` |
//!
//! Lengths are given as one of `days`, `hours`, `minutes`, `seconds`, where a day has 86,400 seconds; grains as one of
//! `grain_hours`, `grain_minutes`, `grain_seconds`.
//!
//! # Zones
//!
//! The first five hold in UTC, or in a [`Zone`] of the IANA database (feature `tz`):
//! `{ rule = "day", zone = "Europe/Berlin" }`. They begin at a midnight, or a full hour, of the local clock; a day
//! has 23 or 25 hours where summer time begins or ends. A midnight that the clock reads twice counts the first time. One
//! that it jumps over is replaced by the first moment after the jump; when it jumps over a whole day, as in Apia in
//! 2011, that day has no period. The account's day of the month is the one that the local calendar showed when it
//! began. [`PeriodRule::Hour`] says what hours do when the clock is changed.
//!
//! ```
//! use hm_metering::period::PeriodRule;
//! # use hm_metering::Timestamp;
//! # fn ts(text: &str) -> Timestamp { text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().into() }
//! # #[cfg(feature = "tz")] {
//!
//! // Summer time begins in Berlin: a day of 23 hours.
//! let rule = PeriodRule::Day.in_zone("Europe/Berlin".parse()?);
//! let day = rule.period_at(ts("2026-03-29T12:00:00Z"), Timestamp::default());
//! assert_eq!(day.start.to_string(), "2026-03-28T23:00:00Z");
//! assert_eq!(day.end.to_string(), "2026-03-29T22:00:00Z");
//!
//! // An account that began on 31 January, Berlin's time, is billed on the last of February.
//! let rule = PeriodRule::AnchoredMonth.in_zone("Europe/Berlin".parse()?);
//! let month = rule.period_at(ts("2026-03-01T00:00:00Z"), ts("2026-01-30T23:30:00Z"));
//! assert_eq!(month.start.to_string(), "2026-02-27T23:00:00Z");
//! assert_eq!(month.end.to_string(), "2026-03-30T22:00:00Z");
//! # }
//! # Ok::<(), hm_metering::period::UnknownZone>(())
//! ```

mod calendar;
mod hour;
mod rolling;
mod text;
mod zone;

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{Datelike, Weekday};
use serde::{Deserialize, Serialize};

pub use rolling::{Rolling, RollingError};
pub use zone::{UnknownZone, Zone};

use crate::time::Timestamp;
use calendar::Cut;

/// A concrete stretch of time, start included, end excluded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Period {
    /// The first moment of the period.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Period {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }
}

/// How time is cut into [`Period`]s. The periods of one rule and anchor tile time: no gap and no overlap.
///
/// The [module](self) has a table of the rules, how they are written in a configuration, and what zones do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PeriodRule {
    /// A month from the day of the month on which the account began, at midnight UTC. In a month without that
    /// day its last day takes its place, and the next period goes back to the original day: 31 January, 28
    /// February, 31 March.
    AnchoredMonth,
    /// From the first of the month, midnight UTC.
    CalendarMonth,
    /// From midnight UTC of the same day in each week. [`PeriodRule::WEEK`] begins on Monday.
    Week {
        /// The day it begins on.
        first_day: Weekday,
    },
    /// From midnight UTC.
    Day,
    /// From the full hour.
    ///
    /// In a zone, an hour begins whenever the local clock reads a full hour, and where it jumps over one. So it has
    /// 60 minutes, also when summer time begins and ends, except where the clock is changed by a part of an hour: on
    /// Lord Howe Island, where that part is half an hour, an hour of 30 minutes follows the jump forward, and the hour
    /// in which the clock is set back has 90.
    Hour,
    /// So many seconds, counted from the Unix epoch: with 900, the quarters of an hour in UTC.
    Fixed {
        /// The length.
        seconds: NonZeroU32,
    },
    /// So many seconds, counted from the whole second in which the account began: with 2,419,200, four weeks from
    /// then, and from then on.
    AnchoredFixed {
        /// The length.
        seconds: NonZeroU32,
    },
    /// A window that moves with time. Its periods are the sub-periods that are counted one by one;
    /// [`PeriodRule::window_start`] says from which on they are summed up.
    Rolling(Rolling),
    /// One of the first five in a zone other than UTC; [`PeriodRule::in_zone`] makes it.
    Zoned(Zoned),
}

/// A month, week, day or hour in a zone; [`PeriodRule::in_zone`] makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Zoned {
    rule: LocalRule,
    zone: Zone,
}

/// What depends on a zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum LocalRule {
    AnchoredMonth,
    CalendarMonth,
    Week(Weekday),
    Day,
    Hour,
}

impl PeriodRule {
    /// The week of ISO 8601, which begins on Monday.
    pub const WEEK: Self = Self::Week {
        first_day: Weekday::Mon,
    };

    /// The same rule by the clock of `zone`. [`Fixed`](Self::Fixed), [`AnchoredFixed`](Self::AnchoredFixed) and
    /// [`Rolling`](Self::Rolling) count seconds, which are the same everywhere, and stay as they are.
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Self {
        let rule = match self {
            Self::AnchoredMonth => LocalRule::AnchoredMonth,
            Self::CalendarMonth => LocalRule::CalendarMonth,
            Self::Week { first_day } => LocalRule::Week(first_day),
            Self::Day => LocalRule::Day,
            Self::Hour => LocalRule::Hour,
            Self::Zoned(zoned) => zoned.rule,
            Self::Fixed { .. } | Self::AnchoredFixed { .. } | Self::Rolling(_) => return self,
        };
        if zone == Zone::UTC {
            rule.into()
        } else {
            Self::Zoned(Zoned { rule, zone })
        }
    }

    /// The period that `at` lies in, for an account that began at `anchor`. The anchor matters to anchored rules
    /// alone. Ends are cut off at [`Timestamp::MIN`] and [`Timestamp::MAX`].
    #[must_use]
    pub fn period_at(self, at: Timestamp, anchor: Timestamp) -> Period {
        let (second, anchor) = (seconds(at), seconds(anchor));
        let (start, end) = match self {
            Self::AnchoredMonth => LocalRule::AnchoredMonth.around(second, anchor, Zone::UTC),
            Self::CalendarMonth => LocalRule::CalendarMonth.around(second, anchor, Zone::UTC),
            Self::Week { first_day } => LocalRule::Week(first_day).around(second, anchor, Zone::UTC),
            Self::Day => LocalRule::Day.around(second, anchor, Zone::UTC),
            Self::Hour => LocalRule::Hour.around(second, anchor, Zone::UTC),
            Self::Zoned(Zoned { rule, zone }) => rule.around(second, anchor, zone),
            Self::Fixed { seconds } => fixed(second, seconds, 0),
            Self::AnchoredFixed { seconds } => fixed(second, seconds, anchor),
            Self::Rolling(rolling) => fixed(second, rolling.grain_seconds(), 0),
        };
        Period {
            start: timestamp(start),
            end: timestamp(end),
        }
    }

    /// From when on units count against the limit at `at`: the start of the period, and for [`Rolling`](Self::Rolling)
    /// the start of the earliest sub-period of which any moment is younger than the window's length. It stays the same
    /// for the whole of the period that `at` lies in.
    #[must_use]
    pub fn window_start(self, at: Timestamp, anchor: Timestamp) -> Timestamp {
        let start = self.period_at(at, anchor).start;
        match self {
            Self::Rolling(rolling) => start.minus(Duration::from_secs(rolling.length_seconds().get().into())),
            Self::AnchoredMonth
            | Self::CalendarMonth
            | Self::Week { .. }
            | Self::Day
            | Self::Hour
            | Self::Fixed { .. }
            | Self::AnchoredFixed { .. }
            | Self::Zoned(_) => start,
        }
    }

    /// The name that this period's limit has in `RateLimit-Policy` and in refusals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnchoredMonth | Self::CalendarMonth => "month",
            Self::Week { .. } => "week",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Fixed { .. } | Self::AnchoredFixed { .. } | Self::Rolling(_) => "window",
            Self::Zoned(zoned) => zoned.in_utc().name(),
        }
    }
}

impl Zoned {
    /// The zone.
    #[must_use]
    pub const fn zone(self) -> Zone {
        self.zone
    }

    /// The same rule in UTC.
    #[must_use]
    pub const fn in_utc(self) -> PeriodRule {
        self.rule.in_utc()
    }
}

impl LocalRule {
    const fn in_utc(self) -> PeriodRule {
        match self {
            Self::AnchoredMonth => PeriodRule::AnchoredMonth,
            Self::CalendarMonth => PeriodRule::CalendarMonth,
            Self::Week(first_day) => PeriodRule::Week { first_day },
            Self::Day => PeriodRule::Day,
            Self::Hour => PeriodRule::Hour,
        }
    }

    /// Start and end of the period around `at`, all in seconds since the epoch.
    fn around(self, at: i64, anchor: i64, zone: Zone) -> (i64, i64) {
        let cut = match self {
            Self::AnchoredMonth => Cut::Months {
                from_day: zone.date_at(anchor).day(),
            },
            Self::CalendarMonth => Cut::Months { from_day: 1 },
            Self::Week(from) => Cut::Weeks { from },
            Self::Day => Cut::Days,
            Self::Hour => return hour::around(at, zone),
        };
        cut.around(at, zone)
    }
}

impl From<LocalRule> for PeriodRule {
    fn from(rule: LocalRule) -> Self {
        rule.in_utc()
    }
}

/// Start and end of the period of a fixed length around `at`, counted from `origin`, all in seconds since the epoch.
fn fixed(at: i64, length: NonZeroU32, origin: i64) -> (i64, i64) {
    let length = i64::from(length.get());
    let start = at - (at - origin).rem_euclid(length);
    (start, start + length)
}

/// The whole second that `at` lies in. Every period begins with a whole second, so nothing finer matters.
const fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

const fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests;
