//! Metering an axum router.

fn main() {}
