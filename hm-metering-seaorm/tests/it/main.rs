//! The store on real databases.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod accounts;
mod addresses;
mod bookkeeping;
mod broken_off;
mod check;
mod closing;
mod conformance;
mod connections;
mod contention;
mod counts;
mod cutter;
mod damage;
mod differential;
mod faults;
mod fixtures;
mod hostile;
mod ledger;
mod listening;
mod migrations;
mod partitions;
mod periods;
mod pools;
mod representation;
mod rights;
mod rows;
mod silence;
mod tenants;
mod texts;
mod traces;
mod transactions;
mod turns;
mod upgrade;
