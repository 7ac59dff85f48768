//! Zones: what a local clock reads, and when it does.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime};
#[cfg(feature = "tz")]
use chrono::{LocalResult, Offset, TimeZone};
#[cfg(feature = "tz")]
use chrono_tz::GapInfo;
use thiserror::Error;

/// A zone of the IANA database, such as `Europe/Berlin`, with its summer time.
///
/// Without the feature `tz` there is UTC alone. The database is the one that was compiled in; it knows changes of
/// the clock up to the year 2100, and after that the last offset stays.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(#[cfg(feature = "tz")] chrono_tz::Tz);

/// A name that is no zone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UnknownZone(String);

impl Zone {
    /// Coordinated universal time.
    #[cfg(feature = "tz")]
    pub const UTC: Self = Self(chrono_tz::Tz::UTC);
    /// Coordinated universal time.
    #[cfg(not(feature = "tz"))]
    pub const UTC: Self = Self();

    /// Its name in the IANA database.
    #[must_use]
    pub fn name(self) -> &'static str {
        #[cfg(feature = "tz")]
        {
            self.0.name()
        }
        #[cfg(not(feature = "tz"))]
        {
            "UTC"
        }
    }

    /// By how many seconds the local clock is ahead of UTC at `at`, in seconds since the epoch.
    pub(super) fn offset_at(self, at: i64) -> i64 {
        #[cfg(feature = "tz")]
        if self != Self::UTC {
            let utc = DateTime::from_timestamp(at, 0).unwrap_or_default().naive_utc();
            return i64::from(self.0.offset_from_utc_datetime(&utc).fix().local_minus_utc());
        }
        let _ = at;
        0
    }

    /// The date that the local calendar shows at `at`, in seconds since the epoch.
    pub(super) fn date_at(self, at: i64) -> NaiveDate {
        DateTime::from_timestamp(at + self.offset_at(at), 0)
            .unwrap_or_default()
            .date_naive()
    }

    /// When the local clock first reads the midnight at which `date` begins, or something later where the clock jumps
    /// over it; in seconds since the epoch.
    pub(super) fn start_of(self, date: NaiveDate) -> i64 {
        let midnight = date.and_time(NaiveTime::MIN);
        let as_utc = midnight.and_utc().timestamp();
        #[cfg(feature = "tz")]
        if self != Self::UTC {
            return match self.0.from_local_datetime(&midnight) {
                LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.timestamp(),
                // The gap begins at the moment of the jump, in the time that held before it.
                LocalResult::None => GapInfo::new(&midnight, &self.0)
                    .and_then(|gap| gap.begin)
                    .map_or(as_utc, |(local, before)| {
                        local.and_utc().timestamp() - i64::from(before.fix().local_minus_utc())
                    }),
            };
        }
        as_utc
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// By the exact name in the IANA database.
impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        if matches!(name, "UTC" | "Etc/UTC") {
            return Ok(Self::UTC);
        }
        #[cfg(feature = "tz")]
        {
            let zone = name.parse().map(Self);
            zone.map_err(|_| UnknownZone(format!("{name:?} is no zone of the IANA database")))
        }
        #[cfg(not(feature = "tz"))]
        {
            let missing = "this program was built without the feature `tz` of hm-metering";
            Err(UnknownZone(format!("zone {name:?} can't be used: {missing}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_zone_is_said() {
        for name in ["Europe/Atlantis", "europe/berlin", "", "+01:00"] {
            let error = name.parse::<Zone>().unwrap_err().to_string();
            assert!(error.contains(&format!("{name:?}")), "{error}");
        }
        assert_eq!("Etc/UTC".parse(), Ok(Zone::UTC));
        assert_eq!(Zone::UTC.to_string(), "UTC");
    }
}
