//! The periods that quotas count in: pure arithmetic on UTC times.

use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Months, NaiveTime, Utc};
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PeriodRule {
    /// A month from the day of the month on which the account began, at midnight UTC. In a month without that
    /// day its last day takes its place, and the next period goes back to the original day: 31 January, 28
    /// February, 31 March.
    AnchoredMonth,
    /// From the first of the month, midnight UTC.
    CalendarMonth,
    /// From midnight UTC.
    Day,
    /// From the full hour.
    Hour,
}

impl PeriodRule {
    /// The period that `at` lies in, for an account that began at `anchor`. The anchor matters to
    /// [`PeriodRule::AnchoredMonth`] alone.
    #[must_use]
    pub fn period_at(self, at: Timestamp, anchor: Timestamp) -> Period {
        match self {
            Self::AnchoredMonth => anchored_month(at.to_datetime(), anchor.to_datetime()),
            Self::CalendarMonth => {
                let day = at.to_datetime();
                let start = midnight(day.with_day(1).unwrap_or(day));
                span(start, start.checked_add_months(Months::new(1)))
            }
            Self::Day => {
                let start = midnight(at.to_datetime());
                span(start, start.checked_add_days(Days::new(1)))
            }
            Self::Hour => fixed(at, 3_600_000_000),
        }
    }

    /// The name that this period's limit has in `RateLimit-Policy` and in refusals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AnchoredMonth | Self::CalendarMonth => "month",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    at.with_time(NaiveTime::MIN).single().unwrap_or(at)
}

fn span(start: DateTime<Utc>, end: Option<DateTime<Utc>>) -> Period {
    Period {
        start: start.into(),
        end: end.map_or(Timestamp::MAX, Timestamp::from),
    }
}

fn fixed(at: Timestamp, length_micros: i64) -> Period {
    let start = at.as_micros() - at.as_micros().rem_euclid(length_micros);
    Period {
        start: Timestamp::from_micros(start),
        end: Timestamp::from_micros(start + length_micros),
    }
}

/// Boundaries are counted in months from the anchor, each clamped on its own, so a short month does not move
/// those after it.
fn anchored_month(at: DateTime<Utc>, anchor: DateTime<Utc>) -> Period {
    let first = midnight(anchor);
    let boundary = |months: i32| -> Option<DateTime<Utc>> {
        let by = Months::new(months.unsigned_abs());
        if months < 0 {
            first.checked_sub_months(by)
        } else {
            first.checked_add_months(by)
        }
    };
    let mut months = (at.year() - first.year()) * 12 + (at.month0() as i32 - first.month0() as i32);
    if boundary(months).is_some_and(|start| start > at) {
        months -= 1;
    }
    Period {
        start: boundary(months).map_or(Timestamp::MIN, Timestamp::from),
        end: boundary(months + 1).map_or(Timestamp::MAX, Timestamp::from),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ts(text: &str) -> Timestamp {
        text.parse::<DateTime<Utc>>().unwrap().into()
    }

    fn anchored(at: &str, anchor: &str) -> (String, String) {
        let period = PeriodRule::AnchoredMonth.period_at(ts(at), ts(anchor));
        (period.start.to_string(), period.end.to_string())
    }

    #[test]
    fn a_month_is_anchored_on_the_day_the_account_began() {
        let (start, end) = anchored("2026-12-01T12:00:00Z", "2026-11-25T13:14:15Z");
        assert_eq!(
            (start.as_str(), end.as_str()),
            ("2026-11-25T00:00:00Z", "2026-12-25T00:00:00Z")
        );
    }

    #[test]
    fn day_31_is_clamped_in_short_months_and_comes_back() {
        let anchor = "2026-01-31T08:00:00Z";
        assert_eq!(anchored("2026-02-10T00:00:00Z", anchor).1, "2026-02-28T00:00:00Z");
        assert_eq!(anchored("2026-02-28T00:00:00Z", anchor).1, "2026-03-31T00:00:00Z");
        assert_eq!(anchored("2028-02-29T00:00:00Z", anchor).0, "2028-02-29T00:00:00Z");
    }

    #[test]
    fn the_edge_belongs_to_the_new_period() {
        let anchor = "2026-01-15T00:00:00Z";
        assert_eq!(anchored("2026-02-15T00:00:00Z", anchor).0, "2026-02-15T00:00:00Z");
        assert_eq!(
            anchored("2026-02-14T23:59:59.999999Z", anchor).0,
            "2026-01-15T00:00:00Z"
        );
    }

    #[test]
    fn times_before_the_anchor_have_a_period_too() {
        assert_eq!(
            anchored("2025-03-01T00:00:00Z", "2026-01-31T00:00:00Z").0,
            "2025-02-28T00:00:00Z"
        );
    }

    proptest! {
        #[test]
        fn periods_tile_time(at in -2_000_000_000_i64..4_000_000_000, anchor in -2_000_000_000_i64..4_000_000_000) {
            let (at, anchor) = (Timestamp::from_micros(at * 1_000_000), Timestamp::from_micros(anchor * 1_000_000));
            for rule in [PeriodRule::AnchoredMonth, PeriodRule::CalendarMonth, PeriodRule::Day, PeriodRule::Hour] {
                let period = rule.period_at(at, anchor);
                prop_assert!(period.contains(at), "{rule:?} {period:?} {at}");
                prop_assert_eq!(rule.period_at(period.start, anchor), period);
                prop_assert_eq!(rule.period_at(period.end, anchor).start, period.end);
                let before = Timestamp::from_micros(period.start.as_micros() - 1);
                prop_assert_eq!(rule.period_at(before, anchor).end, period.start);
            }
        }
    }
}
