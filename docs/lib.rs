//! Nothing but the chapters of the book and the README, so that the tests compile the code in them. The chapters that belong to
//! the documentation of `hm-metering` are compiled there.

#![forbid(unsafe_code)]

#[doc = include_str!("../README.md")]
pub mod readme {}

#[doc = include_str!("src/quickstart.md")]
pub mod quickstart {}

#[doc = include_str!("src/concepts.md")]
pub mod concepts {}

#[doc = include_str!("src/guides/axum.md")]
pub mod axum {}

#[doc = include_str!("src/guides/salvo.md")]
pub mod salvo {}

#[doc = include_str!("src/guides/durability.md")]
pub mod durability {}

#[doc = include_str!("src/guides/rate-limit-by-address.md")]
pub mod rate_limit_by_address {}
