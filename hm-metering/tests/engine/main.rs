//! The engine and the layer, as their users meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod endings;
mod frameworks;
mod journal;
mod layers;
mod leases;
mod limits;
mod modes;
mod refusals;
mod stage;
mod stores;
