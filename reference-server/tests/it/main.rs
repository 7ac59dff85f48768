//! The server in process: each test has its own database and its own clock.

// Types of futures that start a server nest deeply.
#![recursion_limit = "256"]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "tests"
)]

mod bad_input;
mod data;
mod database;
mod er_page;
mod framework;
mod guessing;
mod harness;
mod jobs;
mod keys;
mod logs;
mod me;
mod metrics;
mod migrations;
mod operator;
mod sessions;
mod sign_in;
mod tenants;
mod usage;
mod verify;
