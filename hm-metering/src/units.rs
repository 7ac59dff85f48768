//! Units of a meter: how much a request takes, and what a quota allows.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A number of units, at most [`Units::MAX`]. Arithmetic never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize)]
#[serde(transparent)]
pub struct Units(u64);

impl Units {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One unit.
    pub const ONE: Self = Self(1);
    /// The largest number: fifteen nines, the top of a structured field's integer (RFC 9651 section 3.3.1) and
    /// well inside what every database's 64-bit integer holds.
    pub const MAX: Self = Self(999_999_999_999_999);

    /// `units`, at most [`Units::MAX`].
    #[must_use]
    pub const fn new(units: u64) -> Self {
        if units > Self::MAX.0 {
            Self::MAX
        } else {
            Self(units)
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number as databases keep it.
    #[must_use]
    pub const fn as_i64(self) -> i64 {
        // At most fifteen digits, so it always fits.
        self.0 as i64
    }

    /// From what a database kept; a negative number becomes zero.
    #[must_use]
    pub const fn from_i64(units: i64) -> Self {
        if units < 0 {
            Self::ZERO
        } else {
            Self::new(units as u64)
        }
    }

    /// The sum, at most [`Units::MAX`].
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<u32> for Units {
    fn from(units: u32) -> Self {
        Self(u64::from(units))
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Units {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let units = u64::deserialize(deserializer)?;
        if units > Self::MAX.0 {
            return Err(serde::de::Error::custom("more than 999999999999999 units"));
        }
        Ok(Self(units))
    }
}

/// What can stand for units in a call: [`Units`], or a whole number. More than [`Units::MAX`] is [`Units::MAX`], and less
/// than nothing is nothing.
pub trait AsUnits: Copy + sealed::Sealed {
    /// The units.
    fn as_units(self) -> Units;
}

impl AsUnits for Units {
    fn as_units(self) -> Units {
        self
    }
}

macro_rules! as_units {
    ($($number:ty),*) => {$(
        impl AsUnits for $number {
            fn as_units(self) -> Units {
                // What does not fit is above or below everything that does.
                let is_negative = i128::try_from(self).is_ok_and(i128::is_negative);
                let most = if is_negative { 0 } else { u64::MAX };
                Units::new(u64::try_from(self).unwrap_or(most))
            }
        }

        impl sealed::Sealed for $number {}
    )*};
}

as_units!(u8, u16, u32, u64, usize, i32, i64);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Units {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_units_and_stop_at_the_ends() {
        let units = [
            3.as_units(),
            3_u8.as_units(),
            3_u64.as_units(),
            3_usize.as_units(),
            3_i64.as_units(),
            Units::new(3).as_units(),
        ];
        assert_eq!(units, [Units::new(3); 6]);
        assert_eq!((-3).as_units(), Units::ZERO);
        assert_eq!(i64::MIN.as_units(), Units::ZERO);
        assert_eq!(u64::MAX.as_units(), Units::MAX);
        assert_eq!(usize::MAX.as_units(), Units::MAX);
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Units::MAX.plus(Units::ONE), Units::MAX);
        assert_eq!(Units::ZERO.minus(Units::ONE), Units::ZERO);
        assert_eq!(Units::new(u64::MAX), Units::MAX);
        assert_eq!(Units::from_i64(-5), Units::ZERO);
        assert_eq!(Units::from_i64(Units::MAX.as_i64()), Units::MAX);
    }
}
