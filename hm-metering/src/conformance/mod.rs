//! The tests that every store of the traits has to pass: one case for each sentence of a trait's contract.
//!
//! A store's own tests name a function that makes a fresh, empty store, and get one `#[tokio::test]` for each case:
//!
//! ```
//! use std::sync::Arc;
//!
//! use hm_metering::conformance::{Fixture, MadeUpAccounts};
//! use hm_metering::{MemoryStore, QuotaStore};
//!
//! async fn store() -> Fixture<dyn QuotaStore> {
//!     Fixture::new(Arc::new(MemoryStore::new()), MadeUpAccounts)
//! }
//!
//! mod quota {
//!     hm_metering::quota_store_tests!(super::store);
//! }
//! # fn main() {}
//! ```
//!
//! | macro | fixture | for |
//! | --- | --- | --- |
//! | [`key_store_tests!`](crate::key_store_tests) | `Fixture<dyn KeyStore>` | [`KeyStore`](crate::KeyStore) |
//! | [`quota_store_tests!`](crate::quota_store_tests) | `Fixture<dyn QuotaStore>` | [`QuotaStore`](crate::QuotaStore) |
//! | [`usage_sink_tests!`](crate::usage_sink_tests) | `Fixture<dyn UsageSink>` | [`UsageSink`](crate::UsageSink) |
//! | [`usage_store_tests!`](crate::usage_store_tests) | `Fixture<dyn UsageStore>` | [`UsageStore`](crate::UsageStore), beside its `usage_sink_tests!` |
//! | [`settling_store_tests!`](crate::settling_store_tests) | `Fixture<dyn SettlingStore>` | a sink that applies settlements itself |
//! | [`counting_store_tests!`](crate::counting_store_tests) | `Fixture<dyn CountingStore>` | a sink that counts uses of keys itself |
//! | [`rate_limiter_tests!`](crate::rate_limiter_tests) | `Fixture<dyn RateLimiter>` | [`RateLimiter`](crate::RateLimiter) |
//!
//! Give each macro a module of its own. The tests need `tokio` with `macros` and `rt-multi-thread` among the
//! dev-dependencies. What a store needs besides (accounts, a database to be dropped afterwards) is up to
//! [`Accounts`] and [`Fixture::with_guard`].
//!
//! Each case is a function too, and each suite has a list of them (such as [`keys::cases`]) for other test runners.
//! A case panics when the store breaks its contract, and needs a store that nothing else uses. Cases take their times
//! from constants and never sleep.
//!
//! This module is as stable as the traits' sentences: minor releases may add cases, and a store that breaks a
//! promise may fail a new one.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "a case fails by panicking, and owns its fixture until it ends"
)]

mod fixture;
mod macros;
mod sample;

pub mod counting;
pub mod keys;
pub mod quota;
pub mod rate;
pub mod settling;
pub mod usage;

pub use counting::CountingStore;
pub use fixture::{Accounts, Case, Fixture, MadeUpAccounts};
pub use settling::SettlingStore;
