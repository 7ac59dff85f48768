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

use sea_orm::{DatabaseConnection, DbErr};
use sea_orm_migration::MigratorTrait;

use crate::connect::{Options, connect};
use crate::migration::Migrator;

/// A database that goes away with this value.
#[derive(Debug)]
pub struct TestDatabase {
    url: String,
    connection: DatabaseConnection,
    // Dropped last: it removes what the connection still uses.
    _place: Place,
}

#[derive(Debug)]
enum Place {
    #[cfg(feature = "sqlite")]
    Folder(#[expect(dead_code, reason = "removes the folder when dropped")] tempfile::TempDir),
    #[cfg(feature = "postgres")]
    Postgres(#[expect(dead_code, reason = "drops the database when dropped")] postgres::OwnDatabase),
    #[cfg(feature = "mysql")]
    MySql(#[expect(dead_code, reason = "drops the database when dropped")] mysql::OwnDatabase),
}

impl TestDatabase {
    /// An SQLite file in a temporary folder, migrated.
    ///
    /// # Errors
    ///
    /// When the file can't be made or migrated.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite() -> Result<Self, DbErr> {
        Self::empty_sqlite().await?.migrated().await
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
        let connection = connect(&url, &Options::default()).await?;
        Ok(Self {
            url,
            connection,
            _place: Place::Folder(folder),
        })
    }

    /// A database on the PostgreSQL server for tests, migrated; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// When the server refuses, or doesn't answer and `HM_REQUIRE_SERVICES=1`.
    #[cfg(feature = "postgres")]
    pub async fn postgres() -> Result<Option<Self>, DbErr> {
        match Self::empty_postgres().await? {
            Some(database) => database.migrated().await.map(Some),
            None => Ok(None),
        }
    }

    /// A database on the PostgreSQL server for tests, without tables; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// As [`TestDatabase::postgres`].
    #[cfg(feature = "postgres")]
    pub async fn empty_postgres() -> Result<Option<Self>, DbErr> {
        let Some(own) = postgres::OwnDatabase::create().await? else {
            return Ok(None);
        };
        let url = own.url().to_owned();
        let connection = connect(&url, &Options::default()).await?;
        Ok(Some(Self {
            url,
            connection,
            _place: Place::Postgres(own),
        }))
    }

    /// A database on the MariaDB or MySQL server for tests, migrated; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// When the server refuses, or doesn't answer and `HM_REQUIRE_SERVICES=1`.
    #[cfg(feature = "mysql")]
    pub async fn mysql() -> Result<Option<Self>, DbErr> {
        let Some(database) = Self::empty_mysql().await? else {
            return Ok(None);
        };
        mysql::migrate(&database.connection).await?;
        Ok(Some(database))
    }

    /// A database on the MariaDB or MySQL server for tests, without tables; `None` when no server answers.
    ///
    /// # Errors
    ///
    /// As [`TestDatabase::mysql`].
    #[cfg(feature = "mysql")]
    pub async fn empty_mysql() -> Result<Option<Self>, DbErr> {
        let Some(own) = mysql::OwnDatabase::create().await? else {
            return Ok(None);
        };
        let url = own.url().to_owned();
        let connection = connect(&url, &Options::default()).await?;
        Ok(Some(Self {
            url,
            connection,
            _place: Place::MySql(own),
        }))
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

    async fn migrated(self) -> Result<Self, DbErr> {
        Migrator::up(&self.connection, None).await?;
        Ok(self)
    }
}
