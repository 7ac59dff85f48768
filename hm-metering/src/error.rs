//! What a store can say when it could not do its work.

use std::error::Error;
use std::fmt;

type Source = Box<dyn Error + Send + Sync + 'static>;

/// The result of a store's operation.
pub type StoreResult<T> = Result<T, StoreError>;

/// Why a store could not do its work, for code that has to decide what to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// What the operation names is not there.
    NotFound,
    /// It is there already, or with other content.
    Conflict,
    /// The store can't be reached, or refuses for now.
    Unavailable,
    /// No answer within the deadline. The operation may or may not have happened.
    Timeout,
    /// What was read does not make sense.
    Corrupt,
    /// The caller asked for something that can't be done.
    Invalid,
    /// Anything else.
    Unexpected,
}

/// A store's failure: what kind it is, what was being done, and the driver's own error as source.
///
/// `Display` is one line without the source; whoever logs it prints the chain.
pub struct StoreError {
    kind: StoreErrorKind,
    context: &'static str,
    source: Option<Source>,
}

impl StoreError {
    /// A failure of `kind` while doing `context`, such as `"insert key"`.
    #[must_use]
    pub const fn new(kind: StoreErrorKind, context: &'static str) -> Self {
        Self {
            kind,
            context,
            source: None,
        }
    }

    /// Keeps the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// What was being done.
    #[must_use]
    pub const fn context(&self) -> &'static str {
        self.context
    }

    /// Whether the same call may succeed later. After [`StoreErrorKind::Timeout`] it may have happened already,
    /// which is why every operation of the traits can be repeated.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::Timeout)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            StoreErrorKind::NotFound => "not found",
            StoreErrorKind::Conflict => "conflict",
            StoreErrorKind::Unavailable => "store unavailable",
            StoreErrorKind::Timeout => "store did not answer in time",
            StoreErrorKind::Corrupt => "stored data makes no sense",
            StoreErrorKind::Invalid => "invalid operation",
            StoreErrorKind::Unexpected => "unexpected store failure",
        };
        write!(f, "{}: {what}", self.context)
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreError")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("source", &self.source)
            .finish()
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_and_the_source_is_kept_apart() {
        let error = StoreError::new(StoreErrorKind::Unavailable, "lease quota")
            .with_source(std::io::Error::other("line one\nline two"));
        assert_eq!(error.to_string(), "lease quota: store unavailable");
        assert_eq!(error.source().unwrap().to_string(), "line one\nline two");
        assert!(error.is_transient());
        assert!(!StoreError::new(StoreErrorKind::Conflict, "x").is_transient());
    }
}
