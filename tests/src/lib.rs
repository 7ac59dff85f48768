//! What the whole-system tests are made of: the real `hm-server` as a process of its own, a database of its own for
//! each test, and clients that speak HTTP to it.
//!
//! The tests are in `it/`. They look at the server from outside: at its answers, its log, its exit code, and at the
//! ledger in its database.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::future_not_send,
    clippy::missing_panics_doc,
    reason = "test support: what is not as it should be fails the test"
)]

pub mod address;
pub mod binary;
pub mod footprint;
pub mod http;
pub mod leave;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod log;
pub mod own_server;
pub mod people;
pub mod place;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod seen;
pub mod server;
pub mod skip;
pub mod wait;
