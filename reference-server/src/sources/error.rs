//! Why a source gave no answer.

use std::error::Error;

use http::StatusCode;

use super::ask::{LIMIT_MAX, QUERY_CHARS_MAX};

/// Why a question to a source has no answer.
///
/// The text of an error is made of our own words only: neither the query nor anything the upstream sent is in it, so
/// it can be shown to the caller and logged. What lies behind it is in [`Error::source`], for the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No source has this name.
    #[error("there is no source of this name")]
    UnknownSource,
    /// The query cannot be asked.
    #[error("{0}")]
    InvalidQuery(QueryFault),
    /// More items were asked for than a source gives, or none.
    #[error("the limit must be between 1 and {LIMIT_MAX}")]
    InvalidLimit,
    /// The upstream did not answer within the time limit of the source.
    #[error("the source did not answer in time")]
    Timeout,
    /// The upstream could not be reached, or answered with something other than success.
    #[error("the source failed")]
    Upstream {
        /// The HTTP status it answered with; none when there was no answer.
        status: Option<u16>,
        /// What went wrong on the way.
        #[source]
        cause: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The upstream answered something that is not what this source answers; says what is wrong with it.
    #[error("the source gave an answer that could not be read: {0}")]
    BadAnswer(&'static str),
    /// As many questions to this source as allowed are under way.
    #[error("too many questions to this source are under way")]
    Overloaded,
}

impl SourceError {
    /// An upstream that answered with this status.
    pub(super) fn answered(status: u16) -> Self {
        Self::Upstream {
            status: Some(status),
            cause: None,
        }
    }

    /// The HTTP status that tells a caller of ours about this.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownSource | Self::InvalidQuery(_) | Self::InvalidLimit => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream { .. } | Self::BadAnswer(_) => StatusCode::BAD_GATEWAY,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The stable, machine-readable code of this error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::InvalidQuery(_) => "invalid_query",
            Self::InvalidLimit => "invalid_limit",
            Self::Timeout => "source_timeout",
            Self::Upstream { .. } => "source_failed",
            Self::BadAnswer(_) => "source_bad_answer",
            Self::Overloaded => "source_overloaded",
        }
    }

    /// Whether it tells that the source is not well, rather than that the question was wrong or came at a bad time.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self, Self::Timeout | Self::Upstream { .. } | Self::BadAnswer(_))
    }
}

/// What is wrong with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryFault {
    /// There is none, and this source needs one.
    #[error("this source needs a query")]
    Missing,
    /// It is empty or nothing but white space.
    #[error("the query is empty")]
    Empty,
    /// It has more than [`QUERY_CHARS_MAX`] characters.
    #[error("the query has more than {QUERY_CHARS_MAX} characters")]
    TooLong,
    /// It has control characters, line breaks among them.
    #[error("the query has control characters")]
    ControlCharacter,
    /// It has no letter and no digit to look for.
    #[error("the query has no word to look for")]
    NoWord,
}

impl From<QueryFault> for SourceError {
    fn from(fault: QueryFault) -> Self {
        Self::InvalidQuery(fault)
    }
}
