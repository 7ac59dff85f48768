//! Everything a handler needs, built in one place.

use std::fmt;
use std::sync::Arc;

use hm_metering::Clock;
use sea_orm::DbErr;
use sea_orm_migration::MigratorTrait;

use crate::auth::password::PasswordError;
use crate::auth::{AccessTokens, Attempts, Passwords};
use crate::config::Config;
use crate::database::Database;
use crate::migration::Migrator;
use crate::secrets::Secrets;

/// The application: settings, clock, database and what is built on them. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    clock: Arc<dyn Clock>,
    database: Database,
    passwords: Passwords,
    tokens: AccessTokens,
    attempts: Attempts,
}

/// Why the application can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not answer, or its schema can't be brought up to date.
    #[error("the database can't be opened")]
    Database(#[from] DbErr),
    /// Passwords can't be hashed.
    #[error("passwords can't be hashed")]
    Password(#[from] PasswordError),
}

impl App {
    /// Connects, brings the schema up to date, and builds the parts.
    ///
    /// # Errors
    ///
    /// The database does not answer, or a part can't be built.
    pub async fn start(config: Config, secrets: &Secrets, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let database = Database::connect(&config.database).await?;
        Migrator::up(database.writer(), None).await?;
        Ok(Self(Arc::new(Inner {
            passwords: Passwords::new(&config.auth.password)?,
            tokens: AccessTokens::new(&config.auth, &secrets.jwt_secret),
            attempts: Attempts::new(&config.auth.login),
            config,
            clock,
            database,
        })))
    }

    /// Ends what runs in the background and closes the database.
    ///
    /// # Errors
    ///
    /// The database can't be closed.
    pub async fn shutdown(&self) -> Result<(), DbErr> {
        self.0.database.close().await
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// Password hashing.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Access tokens.
    #[must_use]
    pub fn tokens(&self) -> &AccessTokens {
        &self.0.tokens
    }

    /// Attempts to sign in.
    #[must_use]
    pub fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("database", &self.0.config.database)
            .finish_non_exhaustive()
    }
}
