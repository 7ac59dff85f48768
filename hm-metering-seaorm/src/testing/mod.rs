//! A database of its own for each test.
//!
//! ```no_run
//! # async fn test() -> Result<(), sea_orm::DbErr> {
//! use hm_metering_seaorm::testing::TestDatabase;
//!
//! for database in TestDatabase::every().await? {
//!     // … `database.connection()` is migrated and empty …
//!     database.close().await?;
//! }
//! # Ok(()) }
//! ```
//!
//! PostgreSQL is looked for at `HM_TEST_POSTGRES_URL`, by default `postgres://postgres@127.0.0.1:5432/postgres`, MariaDB or
//! MySQL at `HM_TEST_MYSQL_URL`, by default `mysql://root@127.0.0.1:3306/`. The users must be allowed to create databases.
//! When nothing answers there, the constructor says `SKIPPED …` on standard error and returns nothing; with
//! `HM_REQUIRE_SERVICES=1` it fails instead.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod service;

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
#[cfg(feature = "sqlite")]
use sea_orm_migration::MigratorTrait;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use self::service::{OwnDatabase, Service};
use crate::connect::{Options, connect};
#[cfg(feature = "sqlite")]
use crate::migration::Migrator;

/// A database that goes away with this value.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    connection: DatabaseConnection,
    // Dropped last: it removes what the connection still uses.
    _place: Place,
}

/// A folder, or a database on a server, that is removed when this is dropped.
type Place = Box<dyn std::fmt::Debug + Send + Sync>;

impl TestDatabase {
    /// An SQLite file in a temporary folder, migrated.
    ///
    /// # Errors
    ///
    /// When the file can't be made or migrated.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite() -> Result<Self, DbErr> {
        let database = Self::empty_sqlite().await?;
        Migrator::up(&database.connection, None).await?;
        Ok(database)
    }

    /// An SQLite file in a temporary folder, without tables.
    ///
    /// # Errors
    ///
    /// When the file can't be made.
    #[cfg(feature = "sqlite")]
    pub async fn empty_sqlite() -> Result<Self, DbErr> {
        let folder = tempfile::tempdir().map_err(|error| DbErr::Custom(error.to_string()))?;
        let url = format!(
            "sqlite://{}?mode=rwc",
            folder.path().join("test.sqlite").display()
        );
        Self::at(url, Box::new(folder)).await
    }

    /// A database on the PostgreSQL server for tests, migrated; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// When the server refuses, or doesn't answer and `HM_REQUIRE_SERVICES=1`.
    #[cfg(feature = "postgres")]
    pub async fn postgres() -> Result<Option<Self>, DbErr> {
        Self::migrated_on::<postgres::Postgres>().await
    }

    /// A database on the PostgreSQL server for tests, without tables; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// As [`TestDatabase::postgres`].
    #[cfg(feature = "postgres")]
    pub async fn empty_postgres() -> Result<Option<Self>, DbErr> {
        Self::on::<postgres::Postgres>().await
    }

    /// A database on the MariaDB or MySQL server for tests, migrated; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// When the server refuses, or doesn't answer and `HM_REQUIRE_SERVICES=1`.
    #[cfg(feature = "mysql")]
    pub async fn mysql() -> Result<Option<Self>, DbErr> {
        Self::migrated_on::<mysql::MySql>().await
    }

    /// A database on the MariaDB or MySQL server for tests, without tables; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// As [`TestDatabase::mysql`].
    #[cfg(feature = "mysql")]
    pub async fn empty_mysql() -> Result<Option<Self>, DbErr> {
        Self::on::<mysql::MySql>().await
    }

    /// One of each kind that is compiled in and there, migrated.
    ///
    /// # Errors
    ///
    /// As the constructors of each kind.
    pub async fn every() -> Result<Vec<Self>, DbErr> {
        let mut all = Vec::new();
        #[cfg(feature = "sqlite")]
        all.push(Self::sqlite().await?);
        #[cfg(feature = "postgres")]
        all.extend(Self::postgres().await?);
        #[cfg(feature = "mysql")]
        all.extend(Self::mysql().await?);
        Ok(all)
    }

    /// One of each kind that is compiled in and there, without tables.
    ///
    /// # Errors
    ///
    /// As the constructors of each kind.
    pub async fn every_empty() -> Result<Vec<Self>, DbErr> {
        let mut all = Vec::new();
        #[cfg(feature = "sqlite")]
        all.push(Self::empty_sqlite().await?);
        #[cfg(feature = "postgres")]
        all.extend(Self::empty_postgres().await?);
        #[cfg(feature = "mysql")]
        all.extend(Self::empty_mysql().await?);
        Ok(all)
    }

    /// The address, for a second pool or another process.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pool.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Closes the pool and removes the database, even when others are still connected to it.
    ///
    /// Dropping the value removes the database as well, but blocks the thread for a moment.
    ///
    /// # Errors
    ///
    /// When the pool can't be closed.
    pub async fn close(self) -> Result<(), DbErr> {
        self.connection.close_by_ref().await
    }

    async fn at(url: String, place: Place) -> Result<Self, DbErr> {
        let options = Options {
            // Tests hold what they lock for as long as they need.
            transaction_idle_timeout: Duration::from_secs(600),
            ..Options::default()
        };
        let connection = connect(&url, &options).await?;
        Ok(Self {
            url,
            connection,
            _place: place,
        })
    }

    #[cfg(any(feature = "postgres", feature = "mysql"))]
    async fn on<S: Service>() -> Result<Option<Self>, DbErr> {
        match OwnDatabase::<S>::create().await? {
            Some(own) => Self::at(own.url(), Box::new(own)).await.map(Some),
            None => Ok(None),
        }
    }

    #[cfg(any(feature = "postgres", feature = "mysql"))]
    async fn migrated_on<S: Service>() -> Result<Option<Self>, DbErr> {
        let database = Self::on::<S>().await?;
        if let Some(database) = &database {
            S::migrate(&database.connection).await?;
        }
        Ok(database)
    }
}
