//! Whole-system tests: real processes, real databases, real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::future_not_send,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod answers;
mod bad_credentials;
mod bad_input;
mod bad_sockets;
mod campaign;
mod damage;
mod disk;
mod dump;
mod hostile;
mod idle;
mod kill;
mod operator;
mod outage;
mod rate;
mod secrets;
mod start;
mod stop;
mod stopped;
mod storm;
mod story;
mod two_servers;
