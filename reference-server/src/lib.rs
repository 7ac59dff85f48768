//! The reference server.

pub mod sources;
