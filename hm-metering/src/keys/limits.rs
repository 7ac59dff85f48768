//! The rates that a key has of its own.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::heap;
use crate::plan::RateLimit;

/// The rates of one key. They hold beside those of its account's plan: a request needs room in all of them.
///
/// Quotas of a key are in [`KeyQuotas`](super::KeyQuotas).
///
/// It is written as a list, `[{ "name": "key", "limit": 10, "perMicros": 1000000, "burst": 20 }]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<RateText>", into = "Vec<RateText>")]
pub struct KeyLimits(Vec<RateLimit>);

/// Why a key can't have these limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyLimitsError {
    /// There are more than [`KeyLimits::MAX_RATES`].
    #[error("a key may have {} rates at most", KeyLimits::MAX_RATES)]
    TooMany,
    /// A limit or burst is zero.
    #[error("limit and burst of a rate must be more than 0")]
    Zero,
    /// A window is nothing, longer than a year of 366 days, or not a whole number of microseconds.
    #[error("the window of a rate must be more than nothing and at most 366 days, in whole microseconds")]
    Window,
    /// A name can't stand in a header.
    #[error("the name of a rate has 1 to 64 of a-z, 0-9, '_' and '-'")]
    Name,
}

const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl KeyLimits {
    pub(crate) const NONE: &Self = &Self(Vec::new());

    /// How many rates there may be.
    pub const MAX_RATES: usize = 4;

    /// These rates, in this order.
    ///
    /// # Errors
    /// [`KeyLimitsError`], for the first thing that is wrong.
    pub fn new(rates: impl IntoIterator<Item = RateLimit>) -> Result<Self, KeyLimitsError> {
        let rates: Vec<RateLimit> = rates.into_iter().take(Self::MAX_RATES + 1).collect();
        if rates.len() > Self::MAX_RATES {
            return Err(KeyLimitsError::TooMany);
        }
        rates.iter().try_for_each(check)?;
        Ok(Self(rates))
    }

    /// The rates.
    #[must_use]
    pub const fn rates(&self) -> &[RateLimit] {
        self.0.as_slice()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they take of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let names = self.0.iter().map(|rate| heap::block(rate.name.len()));
        heap::list(&self.0) + names.sum::<usize>()
    }
}

fn check(rate: &RateLimit) -> Result<(), KeyLimitsError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if rate.limit == 0 || rate.burst == 0 {
        Err(KeyLimitsError::Zero)
    } else if rate.per.is_zero() || rate.per > LONGEST || !rate.per.subsec_nanos().is_multiple_of(1_000) {
        Err(KeyLimitsError::Window)
    } else if !(1..=64).contains(&rate.name.len()) || !rate.name.bytes().all(plain) {
        Err(KeyLimitsError::Name)
    } else {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RateText {
    name: String,
    limit: u32,
    per_micros: u64,
    burst: u32,
}

impl TryFrom<Vec<RateText>> for KeyLimits {
    type Error = KeyLimitsError;

    fn try_from(rates: Vec<RateText>) -> Result<Self, KeyLimitsError> {
        Self::new(rates.into_iter().map(|rate| RateLimit {
            name: rate.name,
            limit: rate.limit,
            per: Duration::from_micros(rate.per_micros),
            burst: rate.burst,
        }))
    }
}

impl From<KeyLimits> for Vec<RateText> {
    fn from(limits: KeyLimits) -> Self {
        let text = |rate: RateLimit| RateText {
            // The window is a year at most, so its microseconds fit.
            per_micros: u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX),
            name: rate.name,
            limit: rate.limit,
            burst: rate.burst,
        };
        limits.0.into_iter().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> RateLimit {
        RateLimit {
            name: "key".to_owned(),
            limit: 10,
            per: Duration::from_secs(1),
            burst: 20,
        }
    }

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let nothing = Duration::ZERO;
        for (rate, error) in [
            (RateLimit { limit: 0, ..rate() }, KeyLimitsError::Zero),
            (RateLimit { burst: 0, ..rate() }, KeyLimitsError::Zero),
            (
                RateLimit {
                    per: nothing,
                    ..rate()
                },
                KeyLimitsError::Window,
            ),
            (
                RateLimit {
                    per: Duration::from_nanos(1),
                    ..rate()
                },
                KeyLimitsError::Window,
            ),
            (
                RateLimit {
                    per: LONGEST + Duration::from_micros(1),
                    ..rate()
                },
                KeyLimitsError::Window,
            ),
            (
                RateLimit {
                    name: "a\"b".to_owned(),
                    ..rate()
                },
                KeyLimitsError::Name,
            ),
            (
                RateLimit {
                    name: String::new(),
                    ..rate()
                },
                KeyLimitsError::Name,
            ),
        ] {
            assert_eq!(KeyLimits::new([rate]), Err(error));
        }
        assert_eq!(
            KeyLimits::new(std::iter::repeat(rate())),
            Err(KeyLimitsError::TooMany)
        );
    }

    #[test]
    fn what_is_written_can_be_read_and_nothing_else() {
        let limits = KeyLimits::new([
            rate(),
            RateLimit {
                per: LONGEST,
                ..rate()
            },
        ])
        .unwrap();
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<KeyLimits>(&text).unwrap(), limits);
        assert!(text.starts_with(r#"[{"name":"key","limit":10,"perMicros":1000000,"burst":20}"#));
        for text in [
            r#"[{"name":"key","limit":0,"perMicros":1,"burst":1}]"#,
            r#"[{"name":"key","limit":1,"perMicros":1,"burst":1,"more":1}]"#,
            r#"{"name":"key","limit":1,"perMicros":1,"burst":1}"#,
        ] {
            assert!(serde_json::from_str::<KeyLimits>(text).is_err(), "{text}");
        }
    }
}
