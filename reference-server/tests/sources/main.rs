//! The data sources against real HTTP servers on the loopback address.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod arxiv;
mod caching;
mod curiosity;
mod failures;
mod harness;
mod load;
mod news;
mod questions;
mod weather;
mod wiki;
