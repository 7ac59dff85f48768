#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod arbitrary;
mod conformance;
mod kit;
mod memory;
mod meter_kit;
mod periods;
mod protocol;
mod rate_model;
mod suite_bites;
