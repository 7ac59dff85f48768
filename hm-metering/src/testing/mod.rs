//! The test kit: a meter in one line, a clock to be set, stores that fail when told to, and keys ready made.
//!
//! [`TestMeter`] has all of it together, for tests of a service. Its parts can be used alone, for tests of a store or a
//! verifier:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use std::time::Duration;
//!
//! use hm_metering::testing::{FlakyStore, StoreCall, TestClock, TestKeys};
//! use hm_metering::{Clock, KeyVerifier, MemoryStore, PlanId, StoreErrorKind, StoredKeyVerifier, Timestamp};
//!
//! let clock = TestClock::at(Timestamp::default());
//! let store = FlakyStore::new(MemoryStore::new());
//! let keys = TestKeys::new(store.inner().clone());
//! let key = keys.issue(PlanId::from_static("free"), clock.now()).await;
//! let verifier = StoredKeyVerifier::new(store.clone(), keys.peppers());
//!
//! store.fail_next(1, StoreErrorKind::Unavailable);
//! assert!(verifier.verify(&key.presented(), clock.now()).await.is_err());
//! assert!(verifier.verify(&key.presented(), clock.now()).await.is_ok());
//! assert_eq!(store.calls().of(StoreCall::FindByDigest), 2);
//! clock.advance(Duration::from_secs(60));
//! # });
//! ```

mod calls;
mod clock;
mod disk;
mod events;
mod fixtures;
mod flaky;
mod meter;
mod stores;

pub use calls::{Calls, StoreCall};
pub use clock::TestClock;
pub use disk::TestDisk;
pub use events::Events;
pub use fixtures::{TestKey, TestKeys};
pub use flaky::FlakyStore;
pub use meter::{TestMeter, TestMeterBuilder, day, hour};
