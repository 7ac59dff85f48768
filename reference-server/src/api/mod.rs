//! Handlers: parse, call the domain, render.

pub mod auth;
pub mod data;
pub mod describe;
pub mod docs;
pub mod errors;
pub mod health;
pub mod keys;
pub mod me;
pub mod metrics;
pub mod paging;
pub mod respond;
pub mod usage;
pub mod views;
