//! Periods that begin at a local midnight: months, weeks and days.

use chrono::{Datelike, NaiveDate, Weekday};

use super::Zone;

/// Cuts the calendar into stretches of whole days, which are numbered in their order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// Months from this day of the month, or from the last day of a month without it.
    Months { from_day: u32 },
    /// Weeks from this day.
    Weeks { from: Weekday },
    /// Days.
    Days,
}

impl Cut {
    /// Start and end of the stretch that holds at `at` in `zone`, all in seconds since the epoch.
    ///
    /// The local date says which one it is, but for two cases, in which the step is small: a month may begin later
    /// than on its first day, and a clock that is set back over midnight shows yesterday's date again, after today
    /// has begun.
    pub(super) fn around(self, at: i64, zone: Zone) -> (i64, i64) {
        let start = |number: i32| match self.first_day(number) {
            Some(date) => zone.start_of(date),
            // Beyond what `chrono` counts, which is far beyond what a `Timestamp` holds.
            None if number < 0 => i64::MIN,
            None => i64::MAX,
        };
        let mut number = self.number_of(zone.date_at(at));
        while start(number) > at {
            number -= 1;
        }
        while start(number + 1) <= at {
            number += 1;
        }
        (start(number), start(number + 1))
    }

    /// The number of the stretch that `date` lies in, or of the next one where months begin later than on the first.
    fn number_of(self, date: NaiveDate) -> i32 {
        match self {
            Self::Months { .. } => date.year() * 12 + date.month0() as i32,
            Self::Weeks { from } => (date.num_days_from_ce() - first_of(from)).div_euclid(7),
            Self::Days => date.num_days_from_ce(),
        }
    }

    fn first_day(self, number: i32) -> Option<NaiveDate> {
        match self {
            Self::Months { from_day } => {
                let (year, month) = (number.div_euclid(12), number.rem_euclid(12) as u32 + 1);
                (1..=from_day)
                    .rev()
                    .find_map(|day| NaiveDate::from_ymd_opt(year, month, day))
            }
            Self::Weeks { from } => NaiveDate::from_num_days_from_ce_opt(number * 7 + first_of(from)),
            Self::Days => NaiveDate::from_num_days_from_ce_opt(number),
        }
    }
}

/// The first such day of the year 1, as a number of days. That year began with a Monday, and its days are counted from
/// one.
const fn first_of(weekday: Weekday) -> i32 {
    weekday.num_days_from_monday() as i32 + 1
}
