//! Drivers' errors become [`StoreError`]s: by the constraint that was violated and the state of the connection, never
//! by the text of a message. The driver's own error is kept as source.

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod codes;
mod driver;
#[cfg(all(test, feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod provoked;

use hm_metering::{StoreError, StoreErrorKind};
use sea_orm::{DbErr, SqlErr};

/// What stopped a piece of work: the database, or the work itself.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database or its driver.
    Database(DbErr),
    /// The work found that it can't be done.
    Refused(StoreErrorKind),
    /// The database says nothing any more.
    Silence,
    /// What was read can't be understood.
    Unreadable(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    pub(crate) const CONFLICT: Self = Self::Refused(StoreErrorKind::Conflict);
    pub(crate) const INVALID: Self = Self::Refused(StoreErrorKind::Invalid);
    pub(crate) const CORRUPT: Self = Self::Refused(StoreErrorKind::Corrupt);

    pub(crate) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Unreadable(Box::new(error))
    }

    /// What the database or its driver said, if it was they.
    pub(crate) fn said(&self) -> Option<&DbErr> {
        match self {
            Self::Database(error) => Some(error),
            Self::Refused(_) | Self::Silence | Self::Unreadable(_) => None,
        }
    }

    /// Whether there is a row of that key already.
    pub(crate) fn is_conflict(error: &DbErr) -> bool {
        matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
    }

    pub(crate) fn into_error(self, context: &'static str) -> StoreError {
        match self {
            Self::Database(error) => StoreError::new(kind_of(&error), context).with_source(error),
            Self::Refused(kind) => StoreError::new(kind, context),
            Self::Silence => StoreError::new(StoreErrorKind::Timeout, context),
            Self::Unreadable(source) => StoreError::new(StoreErrorKind::Corrupt, context).with_source(source),
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// Whether the database broke off this transaction in favour of another, so that it may be tried again at once.
pub(crate) fn lost_a_race(error: &DbErr) -> bool {
    driver::lost_a_race(error)
}

/// Whether a lock could not be had in the time that was set for it.
pub(crate) fn waited_in_vain(error: &DbErr) -> bool {
    driver::waited_in_vain(error)
}

/// Whether the connection was lost on the way. Another may be better; what it was in the middle of is undone, unless that was a
/// commit.
pub(crate) fn lost_the_connection(error: &DbErr) -> bool {
    driver::lost_the_connection(error)
}

/// What kind of store error a database error is.
#[must_use]
pub fn kind_of(error: &DbErr) -> StoreErrorKind {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => return StoreErrorKind::Conflict,
        Some(SqlErr::ForeignKeyConstraintViolation(_)) => return StoreErrorKind::NotFound,
        Some(_) | None => {}
    }
    match error {
        DbErr::ConnectionAcquire(_) => StoreErrorKind::Unavailable,
        DbErr::Conn(_) | DbErr::Exec(_) | DbErr::Query(_) => driver::kind_of(error),
        DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => StoreErrorKind::Corrupt,
        DbErr::RecordNotFound(_) => StoreErrorKind::NotFound,
        _ => StoreErrorKind::Unexpected,
    }
}
