//! Why a rule says no, or could not be applied.

use hm_metering::StoreError;
use hm_metering::key::HashError;
use sea_orm::DbErr;

use crate::auth::password::PasswordError;

/// What can happen while a rule is applied.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// Somebody has registered with this address already.
    #[error("the address is taken")]
    EmailTaken,
    /// Address and password do not belong together.
    #[error("the credentials are wrong")]
    InvalidCredentials,
    /// The refresh token is unknown, expired, or was used before.
    #[error("the refresh token is not valid")]
    InvalidRefreshToken,
    /// The session is over, or the person is gone.
    #[error("the session is over")]
    SessionOver,
    /// There is no such thing, or it belongs to somebody else.
    #[error("not found")]
    NotFound,
    /// The cursor does not belong to this list.
    #[error("the cursor is not one of ours")]
    InvalidCursor,
    /// The key was revoked, which is final.
    #[error("the key is revoked")]
    KeyRevoked,
    /// The account has as many as it may have.
    #[error("there are too many of them")]
    TooMany,
    /// The database fails.
    #[error("the database fails")]
    Database(#[from] DbErr),
    /// The store fails.
    #[error("the store fails")]
    Store(#[from] StoreError),
    /// The password can't be hashed or checked.
    #[error("the password can't be checked")]
    Password(#[from] PasswordError),
    /// A token can't be signed.
    #[error("the token can't be signed")]
    Token(#[from] jsonwebtoken::errors::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// A key can't be made.
    #[error("a key can't be made")]
    Hash(#[from] HashError),
}

impl From<getrandom::Error> for DomainError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}
