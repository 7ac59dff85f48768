//! Rate limits: short-window protection, by the generic cell rate algorithm.

pub mod gcra;

use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreResult;

/// One limit to be checked: which bucket, how it flows, how much is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateCheck {
    /// The bucket, such as an account and the limit's name. At most 200 bytes.
    pub bucket: String,
    /// How the bucket flows.
    pub rate: gcra::Rate,
    /// How much is taken.
    pub units: u32,
}

/// What a limiter says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// Every limit had room; it was taken from each.
    Allowed,
    /// A limit had no room; nothing was taken from any.
    Denied {
        /// The position of the limit that makes the caller wait longest.
        limit: usize,
        /// How long until the same request would be allowed, if nothing else comes; none for never: it asks for more
        /// than the burst.
        retry_after: Option<Duration>,
    },
}

/// Checks rate limits that several processes share.
///
/// The engine's own limits are local and need none of this; a limiter behind this trait is for limits that hold
/// over all replicas. Losing its state costs nothing but load.
#[async_trait]
pub trait RateLimiter: Send + Sync + 'static {
    /// Takes from every bucket, or from none. A denial changes nothing: it neither counts nor makes the wait longer.
    /// `now` is time since any start that is the same for all calls; a call with an earlier `now` than one before is
    /// answered as if it came at the same moment. No checks at all are allowed.
    ///
    /// # Errors
    /// When the limiter can't tell.
    async fn check(&self, checks: &[RateCheck], now: Duration) -> StoreResult<RateDecision>;
}
