//! Which problem document stands for which error of the domain.

use hm_metering::{StoreError, StoreErrorKind};
use hm_metering_seaorm::kind_of;
use sea_orm::DbErr;

use crate::auth::password::PasswordError;
use crate::domain::DomainError;
use crate::error::{AppError, FieldError};
use crate::extract::invalid_token;

impl From<DomainError> for AppError {
    fn from(error: DomainError) -> Self {
        match error {
            DomainError::EmailTaken => Self::conflict(
                "email_taken",
                "Somebody has registered with this e-mail address already.",
            ),
            DomainError::InvalidCredentials => Self::unauthorized(
                "invalid_credentials",
                "The e-mail address or the password is wrong.",
            ),
            DomainError::InvalidRefreshToken => Self::unauthorized(
                "invalid_refresh_token",
                "The refresh token is not valid. Sign in again.",
            ),
            DomainError::SessionOver => invalid_token(),
            DomainError::NotFound => Self::not_found("There is no such thing here."),
            DomainError::InvalidCursor => Self::invalid_field("cursor", "is not a cursor of this list"),
            DomainError::KeyRevoked => Self::conflict("key_revoked", "The key is revoked, which is final."),
            DomainError::TooMany => {
                Self::conflict("limit_reached", "There are as many of them as there may be.")
            }
            DomainError::Database(error) => database(error),
            DomainError::Store(error) => error.into(),
            DomainError::Password(PasswordError::Busy) => Self::overloaded(),
            DomainError::Password(error) => Self::internal(error),
            DomainError::Token(error) => Self::internal(error),
            random @ (DomainError::Random(_) | DomainError::Hash(_)) => Self::internal(random),
        }
    }
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        match error.kind() {
            StoreErrorKind::NotFound => Self::not_found("There is no such thing here."),
            StoreErrorKind::Unavailable | StoreErrorKind::Timeout => Self::unavailable(error),
            _ => Self::internal(error),
        }
    }
}

fn database(error: DbErr) -> AppError {
    match kind_of(&error) {
        StoreErrorKind::Unavailable | StoreErrorKind::Timeout => AppError::unavailable(error),
        _ => AppError::internal(error),
    }
}

/// Collects what is wrong with the fields of a request, so that all of it is reported at once.
#[derive(Debug, Default)]
pub struct Mistakes(Vec<FieldError>);

impl Mistakes {
    /// The value, or nothing and a remembered mistake.
    pub fn check<T>(&mut self, field: &str, checked: Result<T, &'static str>) -> Option<T> {
        checked
            .map_err(|message| {
                self.0.push(FieldError {
                    field: field.to_owned(),
                    message: message.to_owned(),
                })
            })
            .ok()
    }

    /// 422 with all mistakes.
    #[must_use]
    pub fn into_error(self) -> AppError {
        AppError::invalid(self.0)
    }

    /// Fails if there were any.
    ///
    /// # Errors
    ///
    /// 422 with all mistakes.
    pub fn finish(self) -> Result<(), AppError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.into_error())
        }
    }
}
