//! Months, and the ids that are made in them. Arithmetic only.

use hm_metering::Timestamp;
use hm_metering::period::{Period, PeriodRule};
use sea_orm::prelude::Uuid;

use super::bounds::Ids;

/// A calendar month in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Month(Period);

impl Month {
    /// The one that a moment lies in.
    pub(crate) fn of(at: Timestamp) -> Self {
        Self(PeriodRule::CalendarMonth.period_at(at, at))
    }

    pub(crate) fn next(self) -> Self {
        Self::of(self.0.end)
    }

    /// The least of the ids that are made in it.
    pub(crate) fn first_id(self) -> Uuid {
        least_id(self.0.start)
    }

    /// The ids that are made in it.
    pub(super) fn ids(self) -> Ids {
        Ids {
            from: Some(self.first_id()),
            to: Some(self.next().first_id()),
        }
    }

    /// What its part of the ledger is called, such as `usage_events_2026_11`.
    pub(super) fn table(self) -> String {
        let start = self.0.start.to_string();
        let month = start.get(..7).unwrap_or(&start).replace('-', "_");
        format!("usage_events_{month}")
    }
}

/// The least UUID of version 7 that is made at a moment or after it.
pub(super) fn least_id(at: Timestamp) -> Uuid {
    let millis = at.as_micros().div_euclid(1_000) + i64::from(at.as_micros().rem_euclid(1_000) > 0);
    // Ids can't tell moments before 1970.
    let millis = u64::try_from(millis).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hm_metering::id::IdSource;

    /// 2026-11-01T00:00:00Z
    const NOVEMBER: i64 = 1_793_491_200_000_000;
    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_month_has_the_ids_that_are_made_in_it_and_no_others() {
        let ids = Month::of(Timestamp::from_micros(NOVEMBER + 7 * DAY)).ids();
        let (from, to) = (ids.from.unwrap(), ids.to.unwrap());
        for seed in [0, 255] {
            let source = IdSource::from_seed([seed; 10]);
            let id = |at| source.next(Timestamp::from_micros(at));
            assert!(id(NOVEMBER - 1) < from);
            for at in [NOVEMBER, NOVEMBER + 30 * DAY - 1] {
                assert!(from <= id(at) && id(at) < to, "{at}");
            }
            assert!(id(NOVEMBER + 30 * DAY) >= to);
        }
    }

    #[test]
    fn months_follow_each_other_and_are_called_by_their_date() {
        let november = Month::of(Timestamp::from_micros(NOVEMBER));
        let january = november.next().next();
        assert_eq!(november.table(), "usage_events_2026_11");
        assert_eq!(january.table(), "usage_events_2027_01");
        assert_eq!(november.next().ids().to, january.ids().from);
    }

    #[test]
    fn an_id_made_within_the_last_millisecond_before_a_moment_is_less_than_the_least_after_it() {
        let source = IdSource::from_seed([255; 10]);
        let at = Timestamp::from_micros(NOVEMBER + 1);
        assert!(source.next(at) < least_id(at));
        assert!(least_id(Timestamp::from_micros(NOVEMBER)) <= source.next(at));
        assert_eq!(least_id(Timestamp::MIN).get_version_num(), 7);
    }
}
