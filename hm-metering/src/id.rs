//! Identifiers: one newtype per thing, all UUIDv7, so that they sort by the time they were made.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that came from a store or a request.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID itself.
            #[must_use]
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

id! {
    /// Who is billed and limited.
    AccountId
}
id! {
    /// A person; people belong to accounts.
    UserId
}
id! {
    /// An API key's record, never the key itself.
    KeyId
}
id! {
    /// One finished request in the ledger.
    EventId
}
id! {
    /// One installation of the engine that survives restarts, such as one server with its data directory.
    ReplicaId
}

/// Makes UUIDv7 identifiers without a system call for each.
///
/// The 74 bits that RFC 9562 leaves free beside the time are a counter that starts at a random place, so two
/// generators collide only if they make ids in the same millisecond *and* started within each other's range:
/// the odds are those of random UUIDs. Ids of one generator are unique by construction and, within a
/// millisecond, rise in the order they were made, until the counter's top bits wrap.
#[derive(Debug)]
pub struct IdSource {
    /// The upper ten of the 74 free bits and the start of the lower 64.
    high: u16,
    next: AtomicU64,
}

impl IdSource {
    /// A generator seeded by the operating system.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn from_os() -> Result<Self, getrandom::Error> {
        let mut seed = [0_u8; 10];
        getrandom::fill(&mut seed)?;
        Ok(Self::from_seed(seed))
    }

    /// A generator with a known start, for tests that want the same ids on every run.
    #[must_use]
    pub fn from_seed(seed: [u8; 10]) -> Self {
        let [h0, h1, rest @ ..] = seed;
        Self {
            high: u16::from_be_bytes([h0, h1]) & 0x03ff,
            next: AtomicU64::new(u64::from_be_bytes(rest)),
        }
    }

    /// The next id, stamped with `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Uuid {
        let low = self.next.fetch_add(1, Ordering::Relaxed);
        let free = (u128::from(self.high) << 64) | u128::from(low);
        let mut random = [0_u8; 10];
        // `Builder` keeps 12 bits of the first two bytes and 62 bits of the other eight.
        let upper = ((free >> 62) & 0x0fff) as u16;
        let lower = (free & ((1 << 62) - 1)) as u64;
        random[..2].copy_from_slice(&upper.to_be_bytes());
        random[2..].copy_from_slice(&lower.to_be_bytes());
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_version_7_unique_and_ordered() {
        let source = IdSource::from_seed([0; 10]);
        let now = Timestamp::from_micros(1_700_000_000_123_456);
        let ids: Vec<Uuid> = (0..10_000).map(|_| source.next(now)).collect();
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        let (secs, nanos) = ids[0].get_timestamp().unwrap().to_unix();
        assert_eq!((secs, nanos), (1_700_000_000, 123_000_000));
    }

    #[test]
    fn the_counter_carries_into_the_upper_bits() {
        let source = IdSource::from_seed([0, 0, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let now = Timestamp::from_micros(0);
        let (a, b) = (source.next(now), source.next(now));
        assert!(a < b, "{a} {b}");
    }

    #[test]
    fn two_generators_do_not_share_ids() {
        let now = Timestamp::from_micros(1);
        let (a, b) = (IdSource::from_os().unwrap(), IdSource::from_os().unwrap());
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            assert!(seen.insert(a.next(now)));
            assert!(seen.insert(b.next(now)));
        }
    }
}
