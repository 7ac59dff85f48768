#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod conformance;
mod kit;
mod memory;
mod periods;
mod suite_bites;
