//! Short names that people choose: of meters, plans and operations.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit")]
pub struct NameError(String);

/// What is counted where nothing else is said.
const REQUESTS: &str = "requests";

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Text {
    /// The name of nearly everybody's meter takes no memory, and is told to be the same by where it stands.
    fn of(text: &str) -> Self {
        if text == REQUESTS {
            Self::Static(REQUESTS)
        } else {
            Self::Shared(Arc::from(text))
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Shared(text) => text,
        }
    }
}

pub(crate) const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 || !is_letter_or_digit(bytes[0]) {
        return false;
    }
    let mut i = 1;
    while i < bytes.len() {
        if !is_letter_or_digit(bytes[i]) && !matches!(bytes[i], b'.' | b'_' | b'-') {
            return false;
        }
        i += 1;
    }
    true
}

const fn is_letter_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Text);

        impl $name {
            /// A name known when the program is compiled.
            ///
            /// # Panics
            /// When `text` is no name; in a `const` that is a compile-time error.
            #[must_use]
            pub const fn from_static(text: &'static str) -> Self {
                assert!(is_name(text), "use 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit");
                Self(Text::Static(text))
            }

            /// A name that came from a configuration, a request or a store.
            ///
            /// # Errors
            /// When it is empty, longer than 64 characters, or has others than `a-z`, `0-9`, `.`, `_` and `-`.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if is_name(text) {
                    Ok(Self(Text::of(text)))
                } else {
                    Err(NameError(text.chars().take(80).collect()))
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                // Most names that are compared are copies of one.
                let (own, other) = (self.as_str(), other.as_str());
                std::ptr::eq(own, other) || own == other
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_str().cmp(other.as_str())
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// A counted thing: `requests`, `tokens`, `bytes`.
    MeterName
}
name! {
    /// The name of a plan, such as `free`. JSON calls an account's plan its `tier`.
    PlanId
}
name! {
    /// What a route is called in limits, usage and reports, such as `data.query`.
    OperationName
}

impl MeterName {
    /// The meter that counts requests, the one there is when nothing else is said.
    pub const REQUESTS: Self = Self::from_static(REQUESTS);
}

/// What can stand for a meter in a call: a borrowed [`MeterName`], or a text of the program such as `"tokens"`.
///
/// A text is looked at each time, which takes a few nanoseconds. A constant made by [`MeterName::from_static`] was looked at
/// when the program was compiled.
pub trait AsMeter: sealed::Sealed {
    /// The name.
    ///
    /// # Errors
    /// When the text is no name.
    fn as_meter(&self) -> Result<Cow<'_, MeterName>, NameError>;
}

impl AsMeter for &MeterName {
    fn as_meter(&self) -> Result<Cow<'_, MeterName>, NameError> {
        Ok(Cow::Borrowed(self))
    }
}

impl AsMeter for &'static str {
    fn as_meter(&self) -> Result<Cow<'_, MeterName>, NameError> {
        let text: &'static str = self;
        if is_name(text) {
            Ok(Cow::Owned(MeterName(Text::Static(text))))
        } else {
            Err(NameError(text.chars().take(80).collect()))
        }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &super::MeterName {}
    impl Sealed for &'static str {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_for_a_meter_if_it_is_a_name() {
        let tokens = MeterName::parse("tokens").unwrap();
        assert_eq!("tokens".as_meter().unwrap().as_str(), "tokens");
        let borrowed = &tokens;
        assert_eq!(*AsMeter::as_meter(&borrowed).unwrap(), tokens);
        for bad in ["", "Tokens", "to kens"] {
            assert!(bad.as_meter().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        for good in ["requests", "data.query", "a", "9-lives", "x_y"] {
            assert_eq!(PlanId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", ".a", "Free", "a b", "ä", "a\"b", &"a".repeat(65)] {
            assert!(PlanId::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(MeterName::parse("requests").unwrap(), MeterName::REQUESTS);
    }
}
