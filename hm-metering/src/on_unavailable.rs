//! What becomes of requests when a store can't answer.

use std::time::Duration;

/// What an operation does when what it needs is not in memory and the store that knows it can't answer: it fails, or its
/// deadline passes ([`MeterBuilder::store_timeout`](crate::MeterBuilder::store_timeout)).
///
/// As long as it can be decided from memory, a request is: leased units are spent and known keys are believed within the
/// staleness bound, whatever is said here. What is known to be no is no: an operation that fails open refuses a key that is
/// revoked or unknown, a rate that is used up and a quota that is known to be. Everything goes on as usual as soon as the
/// store answers; nothing has to be restarted.
///
/// A request that is served because of this has the tag `fallback` in its event, with the value `open` or `safe`; the tag
/// takes one of the [`Event::TAGS_MAX`](crate::usage::Event::TAGS_MAX) places and should not be set by handlers.
///
/// ```
/// # use std::time::Duration;
/// # use hm_metering::{OnUnavailable, Operation, OperationName};
/// // Reading goes on for ten minutes without the database.
/// let read = Operation::new(OperationName::from_static("data.read"))
///     .on_unavailable(OnUnavailable::Open { at_most: Duration::from_secs(600) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnUnavailable {
    /// The request is refused with 503, so nothing is given away.
    #[default]
    Closed,
    /// The request is let through.
    ///
    /// *When the verifier or the plan source can't answer:* a key that was accepted before, with its plan as it was then, is
    /// believed for `at_most` longer than the staleness bound. That is counted from the last moment it was known to be good:
    /// when it was looked up, or the feed of changes was last read. It does not help a key that was never seen here or had
    /// to make way for others, nor one that is known to have changed. So a key that is revoked elsewhere while both the feed
    /// and the verifier are away can be used for the staleness bound and `at_most` together; one that is revoked on this
    /// replica is refused at once.
    ///
    /// *When the quota store can't lease:* the request takes its units without a lease, they are charged and settled once
    /// the store is back, and its event says [`over`](crate::usage::Event::over). What this process knows of the quota still
    /// holds, so a strict quota can be exceeded by what other processes use meanwhile, and by nothing else.
    Open {
        /// For how long beyond the staleness bound.
        at_most: Duration,
    },
    /// When the quota store can't lease, this process lets each account have a small allowance of each limited meter in each
    /// period; beyond it the request is refused with 503. So a quota can be exceeded by this much for each process, and by
    /// nothing else. Keys are as with [`Closed`](Self::Closed).
    ///
    /// Operations that name the same meter share its allowance, each up to its own number. Quotas that never refuse need
    /// none.
    Safe {
        /// How many units of a meter in a period.
        units: u32,
    },
}

impl OnUnavailable {
    /// The tag of a request that is served because of it.
    pub(crate) const TAG: &'static str = "fallback";

    /// The word for it in tags and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::Safe { .. } => "safe",
        }
    }
}
