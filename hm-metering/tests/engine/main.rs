//! The engine and the layer, as their users meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod answers;
mod endings;
mod frameworks;
mod layers;
mod leases;
mod limits;
mod refusals;
mod stage;
mod stores;
