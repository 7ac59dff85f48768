//! Guides: how to do things that take more than one type. To begin with, see [the first page](crate).
//!
//! * [`costs`]: what a request takes, and who says so
//! * [`streaming_tokens`]: charging a response for what it really sent
//! * [`grpc`]: the layer around a tonic service
//! * [`own_store`]: keys, quotas and events elsewhere
//! * [`own_verifier`]: JSON Web Tokens in place of stored keys
//! * [`testing`]: tests of a metered service
//! * [`failure_modes`]: what becomes of requests when something fails
//!
//! They are the chapters of the book in the repository, which has more on running a service. Their code is compiled with the
//! tests.

#[doc = include_str!("../docs/costs.md")]
pub mod costs {}

#[doc = include_str!("../docs/streaming-tokens.md")]
pub mod streaming_tokens {}

#[doc = include_str!("../docs/grpc.md")]
pub mod grpc {}

#[doc = include_str!("../docs/own-store.md")]
pub mod own_store {}

#[doc = include_str!("../docs/own-verifier.md")]
pub mod own_verifier {}

#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/failure-modes.md")]
pub mod failure_modes {}
