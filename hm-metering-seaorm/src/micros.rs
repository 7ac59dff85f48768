//! Times as the columns hold them: microseconds since 1970-01-01T00:00:00Z.

use chrono::{DateTime, Utc};

/// The column value of a time; anything finer than a microsecond is cut off towards the past.
#[must_use]
pub fn from_time(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// The time of a column value.
///
/// A value beyond what the calendar can express becomes the nearest time that it can.
#[must_use]
pub fn to_time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(if micros < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_the_round_trip_to_the_microsecond() {
        for micros in [0, 1, -1, 1_795_000_000_123_456, -62_000_000_000_000_001] {
            assert_eq!(from_time(to_time(micros)), micros);
        }
    }

    #[test]
    fn a_value_beyond_the_calendar_is_clamped() {
        assert_eq!(to_time(i64::MAX), DateTime::<Utc>::MAX_UTC);
        assert_eq!(to_time(i64::MIN), DateTime::<Utc>::MIN_UTC);
    }
}
