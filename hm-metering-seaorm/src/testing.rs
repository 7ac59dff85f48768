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
//! PostgreSQL is looked for at `HM_TEST_POSTGRES_URL`, by default `postgres://postgres@127.0.0.1:5432/postgres`, whose
//! user must be allowed to create databases. When nothing answers there, the constructor says `SKIPPED …` on
//! standard error and returns nothing; with `HM_REQUIRE_SERVICES=1` it fails instead.

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

    /// One of each kind that is compiled in and there, migrated.
    ///
    /// # Errors
    ///
    /// As the constructors of each kind.
    pub async fn every() -> Result<Vec<Self>, DbErr> {
        let mut all = Self::every_empty().await?;
        for database in &mut all {
            Migrator::up(&database.connection, None).await?;
        }
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

#[cfg(feature = "postgres")]
mod postgres {
    use std::str::FromStr;
    use std::sync::Arc;
    use std::time::Duration;

    use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
    use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error, Executor};
    use sea_orm::{DbErr, RuntimeErr};
    use uuid::Uuid;

    const DEFAULT_URL: &str = "postgres://postgres@127.0.0.1:5432/postgres";
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A database that is dropped with this value.
    #[derive(Debug)]
    pub(super) struct OwnDatabase {
        server: String,
        name: String,
        url: String,
    }

    impl OwnDatabase {
        pub(super) async fn create() -> Result<Option<Self>, DbErr> {
            let server = setting("HM_TEST_POSTGRES_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
            let mut admin = match open(&server).await {
                Ok(admin) => admin,
                Err(error) if !is_absent(&error) => return Err(failure(error)),
                Err(error) if setting("HM_REQUIRE_SERVICES").as_deref() == Some("1") => {
                    return Err(failure(error));
                }
                Err(_) => {
                    say_skipped();
                    return Ok(None);
                }
            };
            let name = format!("hm_test_{}", Uuid::now_v7().simple());
            // template0 accepts no connections, so nobody can be in the way of copying it.
            let create = format!("CREATE DATABASE {name} TEMPLATE template0");
            admin.execute(AssertSqlSafe(create)).await.map_err(failure)?;
            let url = PgConnectOptions::from_str(&server)
                .map_err(failure)?
                .database(&name)
                .to_url_lossy()
                .to_string();
            Ok(Some(Self { server, name, url }))
        }

        pub(super) fn url(&self) -> &str {
            &self.url
        }
    }

    impl Drop for OwnDatabase {
        fn drop(&mut self) {
            let server = std::mem::take(&mut self.server);
            let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
            // A thread with a runtime of its own, since this may run inside one or outside any.
            let dropped = std::thread::spawn(move || -> Result<(), Error> {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let mut admin = open(&server).await?;
                    admin.execute(AssertSqlSafe(drop)).await?;
                    admin.close().await
                })
            })
            .join();
            if !matches!(dropped, Ok(Ok(()))) {
                eprintln!(
                    "the test database {} could not be dropped: {dropped:?}",
                    self.name
                );
            }
        }
    }

    async fn open(server: &str) -> Result<PgConnection, Error> {
        let options = PgConnectOptions::from_str(server)?.disable_statement_logging();
        tokio::time::timeout(PATIENCE, options.connect())
            .await
            .map_err(|_| Error::PoolTimedOut)?
    }

    fn is_absent(error: &Error) -> bool {
        matches!(error, Error::Io(_) | Error::PoolTimedOut)
    }

    fn failure(error: Error) -> DbErr {
        DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "test support has no configuration to read it from"
    )]
    fn setting(name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// Says so past the test runner, which keeps what a test prints to itself when the test passes.
    fn say_skipped() {
        let text = "SKIPPED on PostgreSQL: nothing answers at HM_TEST_POSTGRES_URL (default 127.0.0.1:5432); \
                    HM_REQUIRE_SERVICES=1 makes this a failure\n";
        // A standard error that is closed hears nothing; the test goes on.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
}
