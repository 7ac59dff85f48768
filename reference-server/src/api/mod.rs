//! Handlers: parse, call the domain, render.

pub mod auth;
pub mod describe;
pub mod docs;
pub mod errors;
pub mod health;
pub mod me;
pub mod respond;
pub mod views;
