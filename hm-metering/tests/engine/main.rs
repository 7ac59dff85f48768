//! The engine and the layer, as their users meet them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod addresses;
mod allowances;
mod answers;
mod bursts;
mod charging;
mod decisions;
mod endings;
mod endpoints;
mod evictions;
mod flood;
mod frameworks;
mod hashes;
mod hooks;
mod identify;
mod journal;
mod key_quotas;
mod keys;
mod layers;
mod leases;
mod limits;
mod log;
mod measures;
mod modes;
mod overruns;
mod plan_changes;
mod power;
mod refusals;
mod room;
mod shutdown;
mod sinks;
mod stage;
mod stores;
mod timeouts;
mod told;
mod unavailable;
mod uses;
mod wire;
