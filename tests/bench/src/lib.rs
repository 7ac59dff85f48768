//! What the benchmarks share: services to wrap, requests to send, a meter with any number of keys, and how time is taken.
//!
//! Each program here answers one question and prints one table; `docs/benchmarks.md` says which command makes which.
//! They use the public interface of `hm-metering` only, as a stranger's program would.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't be set up has nothing to go on with"
)]

pub mod cost;
pub mod fixture;
pub mod rounds;
pub mod service;
