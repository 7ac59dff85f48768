//! What a request is charged, by how it ended and by how much it turned out to take.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::usage::Outcome;

/// Whether a request is charged, judged when its response is over. It is recorded in any case.
///
/// ```
/// # use hm_metering::{ChargeRule, Operation, OperationName};
/// // A search that finds nothing is free.
/// let rule = ChargeRule::when(|ending| ending.is_success() && ending.status().is_none_or(|status| status != 204));
/// let search = Operation::new(OperationName::from_static("search")).charge(rule);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum ChargeRule {
    /// If the handler did its work: it was reached, and the request did not fail on our side. A client that leaves early
    /// has made us work all the same. See [`Ending::is_success`].
    #[default]
    OnSuccess,
    /// In any case, also if the handler was never reached.
    Always,
    /// Never.
    Never,
    /// If this says so. It is asked once, when the response ends, on the thread that happens to end it, so it should be quick.
    /// If it panics, the request is not charged. Requests that are refused are not asked about. The head of an answer, which
    /// leaves before that, counts the request in its limits' headers if [`ChargeRule::OnSuccess`] would charge it.
    When(Arc<dyn Fn(&Ending) -> bool + Send + Sync>),
}

impl ChargeRule {
    /// If `is_charged` says so.
    #[must_use]
    pub fn when(is_charged: impl Fn(&Ending) -> bool + Send + Sync + 'static) -> Self {
        Self::When(Arc::new(is_charged))
    }

    /// What an answer's head says, before the rule can be asked.
    pub(crate) fn is_expected_to_charge(&self, ending: &Ending) -> bool {
        match self {
            Self::OnSuccess | Self::When(_) => ending.is_success(),
            Self::Always => true,
            Self::Never => false,
        }
    }

    pub(crate) fn is_charged(&self, ending: &Ending) -> bool {
        match self {
            Self::OnSuccess => ending.is_success(),
            Self::Always => true,
            Self::Never => false,
            Self::When(is_charged) => {
                let asked = std::panic::AssertUnwindSafe(|| is_charged(ending));
                std::panic::catch_unwind(asked).unwrap_or_else(|_| {
                    tracing::error!("a charge rule panicked; the request is not charged");
                    false
                })
            }
        }
    }
}

/// Closures are equal if they are the same one.
impl PartialEq for ChargeRule {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::When(a), Self::When(b)) => Arc::ptr_eq(a, b),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Eq for ChargeRule {}

impl fmt::Debug for ChargeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnSuccess => "OnSuccess",
            Self::Always => "Always",
            Self::Never => "Never",
            Self::When(_) => "When(…)",
        })
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    outcome: Outcome,
    status: Option<StatusCode>,
    grpc_status: Option<u8>,
}

impl Ending {
    pub(crate) const fn new(outcome: Outcome, status: Option<StatusCode>, grpc_status: Option<u8>) -> Self {
        Self {
            outcome,
            status,
            grpc_status,
        }
    }

    /// How.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The HTTP status; none when there was no answer yet.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// The status of a gRPC call, if it ended with one. An answer that is complete without one, such as when its trailers were
    /// lost, is 2 (unknown) to the client, and so it is here.
    #[must_use]
    pub const fn grpc_status(&self) -> Option<u8> {
        self.grpc_status
    }

    /// Whether the handler was reached and nothing failed on our side: an HTTP status below 500, and no gRPC status that
    /// blames the server (unknown, deadline exceeded, unimplemented, internal, unavailable, data loss).
    #[must_use]
    pub fn is_success(&self) -> bool {
        let is_ours = match self.outcome {
            Outcome::Completed | Outcome::ClientGone | Outcome::Stopped => false,
            Outcome::Refused
            | Outcome::BodyError
            | Outcome::ServiceError
            | Outcome::Panicked
            | Outcome::TimedOut
            | Outcome::NotReached => true,
        };
        let is_http_failure = self.status.is_some_and(|status| status.as_u16() >= 500);
        let is_grpc_failure = matches!(self.grpc_status, Some(2 | 4 | 12 | 13 | 14 | 15));
        !is_ours && !is_http_failure && !is_grpc_failure
    }
}

/// What to do when a handler charges more than could be reserved of a limited quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overrun {
    /// Everything is charged, also beyond the limit, and the event says so.
    #[default]
    Overflow,
    /// No more is charged than could be reserved: what the quota has no room for is free. The response is held back while more
    /// is leased for what was said. If the store does not answer for so long that a request would be refused at the door, the
    /// response goes on, and what was said meanwhile is free.
    Cap,
    /// The response is stopped, and no more is charged than was reserved for it. One that has not begun is answered with 429;
    /// a body ends with an error, and a gRPC stream with `RESOURCE_EXHAUSTED`. The response is held back while more is leased for
    /// what was said; what could not be reserved is not handed over.
    Reject,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(outcome: Outcome, status: u16, grpc: Option<u8>) -> Ending {
        Ending::new(outcome, StatusCode::from_u16(status).ok(), grpc)
    }

    #[test]
    fn what_fails_on_our_side_is_no_success() {
        for (outcome, status, grpc, is_success) in [
            (Outcome::Completed, 200, None, true),
            (Outcome::Completed, 404, None, true),
            (Outcome::Completed, 503, None, false),
            (Outcome::ClientGone, 0, None, true),
            (Outcome::BodyError, 200, None, false),
            (Outcome::Panicked, 0, None, false),
            (Outcome::NotReached, 0, None, false),
            (Outcome::Completed, 200, Some(0), true),
            (Outcome::Completed, 200, Some(3), true),
            (Outcome::Completed, 200, Some(13), false),
            (Outcome::Stopped, 200, Some(8), true),
        ] {
            assert_eq!(
                ending(outcome, status, grpc).is_success(),
                is_success,
                "{outcome:?} {status} {grpc:?}"
            );
        }
    }

    #[test]
    fn a_rule_that_panics_charges_nothing() {
        let rule = ChargeRule::when(|_| panic!("a mistake"));
        assert!(!rule.is_charged(&ending(Outcome::Completed, 200, None)));
        assert!(ChargeRule::Always.is_charged(&ending(Outcome::NotReached, 0, None)));
        assert!(!ChargeRule::Never.is_charged(&ending(Outcome::Completed, 200, None)));
    }
}
