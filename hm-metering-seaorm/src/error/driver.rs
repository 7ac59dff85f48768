//! What sqlx says when something goes wrong.

use hm_metering::StoreErrorKind;
use sea_orm::DbErr;

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
pub(super) use self::none::{kind_of, lost_a_race, lost_the_connection, waited_in_vain};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(super) use self::sqlx::{kind_of, lost_a_race, lost_the_connection, waited_in_vain};

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sqlx {
    use sea_orm::RuntimeErr;
    use sea_orm::sqlx::Error;
    use sea_orm::sqlx::error::DatabaseError;

    use super::super::codes::Code;
    use super::{DbErr, StoreErrorKind};

    pub(crate) fn kind_of(error: &DbErr) -> StoreErrorKind {
        let Some(error) = driver_error(error) else {
            return match error {
                DbErr::Conn(_) => StoreErrorKind::Unavailable,
                _ => StoreErrorKind::Unexpected,
            };
        };
        match error {
            Error::Database(error) => code_of(error.as_ref()).kind(),
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

    pub(crate) fn lost_a_race(error: &DbErr) -> bool {
        matches!(driver_error(error), Some(Error::Database(error)) if code_of(error.as_ref()).lost_a_race())
    }

    pub(crate) fn waited_in_vain(error: &DbErr) -> bool {
        matches!(driver_error(error), Some(Error::Database(error)) if code_of(error.as_ref()).waited_in_vain())
    }

    pub(crate) fn lost_the_connection(error: &DbErr) -> bool {
        match driver_error(error) {
            Some(Error::Database(error)) => code_of(error.as_ref()).lost_the_connection(),
            Some(Error::Io(_) | Error::Protocol(_)) => !matches!(error, DbErr::Conn(_)),
            _ => false,
        }
    }

    fn driver_error(error: &DbErr) -> Option<&Error> {
        match error {
            DbErr::Conn(RuntimeErr::SqlxError(error))
            | DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
            _ => None,
        }
    }

    fn code_of(error: &dyn DatabaseError) -> Code<'_> {
        #[cfg(feature = "postgres")]
        if let Some(error) = error.try_downcast_ref::<sea_orm::sqlx::postgres::PgDatabaseError>() {
            return Code::Postgres(error.code());
        }
        #[cfg(feature = "mysql")]
        if let Some(error) = error.try_downcast_ref::<sea_orm::sqlx::mysql::MySqlDatabaseError>() {
            return Code::MySql(error.number(), error.code().unwrap_or_default());
        }
        let code = error.code().and_then(|code| code.parse().ok());
        code.map_or(Code::Unknown, Code::Sqlite)
    }
}

#[cfg(not(any(feature = "sqlite", feature = "postgres", feature = "mysql")))]
mod none {
    use super::{DbErr, StoreErrorKind};

    pub(crate) fn kind_of(_: &DbErr) -> StoreErrorKind {
        StoreErrorKind::Unavailable
    }

    pub(crate) fn lost_a_race(_: &DbErr) -> bool {
        false
    }

    pub(crate) fn waited_in_vain(_: &DbErr) -> bool {
        false
    }

    pub(crate) fn lost_the_connection(_: &DbErr) -> bool {
        false
    }
}
