//! The engine and the layer, as their users meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod answers;
mod bursts;
mod charging;
mod endings;
mod flood;
mod frameworks;
mod hashes;
mod hooks;
mod journal;
mod keys;
mod layers;
mod leases;
mod limits;
mod measures;
mod modes;
mod overruns;
mod plan_changes;
mod refusals;
mod stage;
mod stores;
mod unavailable;
mod wire;
