//! Drivers' errors become [`StoreError`]s: by the constraint that was violated and the state of the connection, never
//! by the text of a message. The driver's own error is kept as source.

use hm_metering::{StoreError, StoreErrorKind};
use sea_orm::{DbErr, SqlErr};

/// What stopped a piece of work: the database, or the work itself.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database or its driver.
    Database(DbErr),
    /// The work found that it can't be done.
    Refused(StoreErrorKind),
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

    /// Whether the database broke off this transaction in favour of another, so that it may be tried again at once.
    pub(crate) fn lost_a_race(&self) -> bool {
        match self {
            Self::Database(error) => driver::lost_a_race(error),
            Self::Refused(_) | Self::Unreadable(_) => false,
        }
    }

    pub(crate) fn into_error(self, context: &'static str) -> StoreError {
        match self {
            Self::Database(error) => StoreError::new(kind_of(&error), context).with_source(error),
            Self::Refused(kind) => StoreError::new(kind, context),
            Self::Unreadable(source) => StoreError::new(StoreErrorKind::Corrupt, context).with_source(source),
        }
    }
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
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

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod driver {
    use hm_metering::StoreErrorKind;
    use sea_orm::sqlx::Error;
    use sea_orm::sqlx::error::DatabaseError;
    use sea_orm::{DbErr, RuntimeErr};

    pub(super) fn kind_of(error: &DbErr) -> StoreErrorKind {
        let Some(error) = driver_error(error) else {
            return match error {
                DbErr::Conn(_) => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::Unexpected,
            };
        };
        match error {
            Error::Database(error) => database_kind(error.as_ref()),
            Error::Io(_)
            | Error::Tls(_)
            | Error::Protocol(_)
            | Error::PoolTimedOut
            | Error::PoolClosed
            | Error::WorkerCrashed => StoreErrorKind::Unavailable,
            Error::ColumnDecode { .. } | Error::Decode(_) | Error::TypeNotFound { .. } => {
                StoreErrorKind::Corrupt
            }
            Error::Configuration(_) | Error::InvalidArgument(_) | Error::Encode(_) => StoreErrorKind::Invalid,
            _ => StoreErrorKind::Unexpected,
        }
    }

    pub(super) fn lost_a_race(error: &DbErr) -> bool {
        // Serialization failure and deadlock. SQLite has neither here: every transaction that writes begins with the
        // write lock, and one that could not get it in time has waited long enough.
        matches!(driver_error(error), Some(Error::Database(error))
            if is_postgres(error.as_ref()) && matches!(error.code().as_deref(), Some("40001" | "40P01")))
    }

    fn driver_error(error: &DbErr) -> Option<&Error> {
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
            _ => None,
        }
    }

    fn database_kind(error: &dyn DatabaseError) -> StoreErrorKind {
        let code = error.code();
        let code = code.as_deref().unwrap_or_default();
        if is_postgres(error) {
            postgres_kind(code)
        } else {
            code.parse().map_or(StoreErrorKind::Unexpected, sqlite_kind)
        }
    }

    #[cfg(feature = "postgres")]
    fn is_postgres(error: &dyn DatabaseError) -> bool {
        error
            .try_downcast_ref::<sea_orm::sqlx::postgres::PgDatabaseError>()
            .is_some()
    }

    #[cfg(not(feature = "postgres"))]
    fn is_postgres(_: &dyn DatabaseError) -> bool {
        false
    }

    /// By SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    fn postgres_kind(code: &str) -> StoreErrorKind {
        match (code.get(..2).unwrap_or_default(), code) {
            (_, "57014") => StoreErrorKind::Timeout,
            // Connection lost, out of resources, shutting down, disk trouble, lost a race too often, lock not available;
            // read-only while another server takes over.
            ("08" | "40" | "53" | "55" | "57" | "58", _) | (_, "25006") => StoreErrorKind::Unavailable,
            // Wrong password or role, rights taken away, no such database: someone has to put it right, and can.
            ("28" | "3D", _) | (_, "42501") => StoreErrorKind::Unavailable,
            ("22" | "23", _) => StoreErrorKind::Invalid,
            ("XX", _) => StoreErrorKind::Corrupt,
            _ => StoreErrorKind::Unexpected,
        }
    }

    /// By result code, <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
    fn sqlite_kind(code: u32) -> StoreErrorKind {
        match code & 0xff {
            9 => StoreErrorKind::Timeout,
            // Busy, locked, out of memory, read-only, disk error, disk full, can't open.
            5 | 6 | 7 | 8 | 10 | 13 | 14 => StoreErrorKind::Unavailable,
            11 | 26 => StoreErrorKind::Corrupt,
            18..=20 => StoreErrorKind::Invalid,
            _ => StoreErrorKind::Unexpected,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn codes_tell_what_kind_of_failure_it_is() {
            for (code, kind) in [
                ("57014", StoreErrorKind::Timeout),
                ("57P01", StoreErrorKind::Unavailable),
                ("08006", StoreErrorKind::Unavailable),
                ("53300", StoreErrorKind::Unavailable),
                ("58030", StoreErrorKind::Unavailable),
                ("42501", StoreErrorKind::Unavailable),
                ("40P01", StoreErrorKind::Unavailable),
                ("22021", StoreErrorKind::Invalid),
                ("42P01", StoreErrorKind::Unexpected),
                ("", StoreErrorKind::Unexpected),
            ] {
                assert_eq!(postgres_kind(code), kind, "{code}");
            }
            for (code, kind) in [
                (5, StoreErrorKind::Unavailable),
                (517, StoreErrorKind::Unavailable),
                (13, StoreErrorKind::Unavailable),
                (11, StoreErrorKind::Corrupt),
                (275, StoreErrorKind::Invalid),
                (1, StoreErrorKind::Unexpected),
            ] {
                assert_eq!(sqlite_kind(code), kind, "{code}");
            }
        }
    }
}

#[cfg(not(any(feature = "sqlite", feature = "postgres")))]
mod driver {
    use hm_metering::StoreErrorKind;
    use sea_orm::DbErr;

    pub(super) fn kind_of(_: &DbErr) -> StoreErrorKind {
        StoreErrorKind::Unavailable
    }

    pub(super) fn lost_a_race(_: &DbErr) -> bool {
        false
    }
}
