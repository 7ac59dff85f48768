//! Opens connection pools with every time-out set and statement logs quiet.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

/// Pool sizes and time-outs. The defaults suit one server process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most connections to PostgreSQL. SQLite always has one connection that writes.
    pub connections_max: u32,
    /// Most connections of a pool that only reads an SQLite file; see [`connect_reader`].
    pub readers_max: u32,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a caller waits for a free connection, making new ones included.
    pub acquire_timeout: Duration,
    /// After this PostgreSQL breaks off a statement. SQLite waits this long for a lock that another process holds.
    pub statement_timeout: Duration,
    /// How long a caller of [`SeaOrmStore`](crate::SeaOrmStore) waits for an operation as a whole. It goes on after that, so its
    /// outcome is then unknown; each can be repeated.
    pub operation_timeout: Duration,
    /// How long a connection may stay unused before it is closed.
    pub idle_timeout: Duration,
    /// Log each statement at debug level. Statements never hold values, only placeholders.
    pub log_statements: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 10,
            readers_max: 4,
            connect_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            operation_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(600),
            log_statements: false,
        }
    }
}

/// Connects to `sqlite://path?mode=rwc`, `sqlite:path`, `sqlite::memory:` or `postgres://…`.
///
/// An SQLite file and its folder are made when they are missing (unless the address says `mode=ro` or `mode=rw`).
/// It is opened with a write-ahead log, `synchronous=NORMAL`, foreign keys on, and one connection: SQLite has one
/// writer, and waiting for a connection is fairer than waiting for a lock.
///
/// # Errors
///
/// When the address is malformed or its database isn't compiled in, and when the database doesn't answer. The
/// error never holds the address, which may hold a password.
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    expect(unused_variables, reason = "no database is compiled in")
)]
pub async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    match Scheme::of(url)? {
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite => sqlite::connect(url, options, sqlite::Access::Write).await,
        #[cfg(feature = "postgres")]
        Scheme::Postgres => postgres(url, options).await,
    }
}

/// Connects a second pool that only reads, where that helps: for an SQLite file, whose readers don't wait for the
/// writer. `None` for PostgreSQL and for SQLite in memory.
///
/// # Errors
///
/// As [`connect`]. The file must exist by then.
#[cfg_attr(
    not(feature = "sqlite"),
    expect(unused_variables, reason = "only SQLite has readers of its own")
)]
pub async fn connect_reader(url: &str, options: &Options) -> Result<Option<DatabaseConnection>, DbErr> {
    match Scheme::of(url)? {
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite if sqlite::is_file(url) => sqlite::connect(url, options, sqlite::Access::Read)
            .await
            .map(Some),
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite => Ok(None),
        #[cfg(feature = "postgres")]
        Scheme::Postgres => Ok(None),
    }
}

enum Scheme {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Scheme {
    /// sea-orm's own refusal would repeat the whole address, password included.
    fn of(url: &str) -> Result<Self, DbErr> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => Ok(Self::Sqlite),
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(DbErr::Conn(RuntimeErr::Internal(
                "the database address must begin with `sqlite:` or `postgres:`, and the crate's feature of that name be on"
                    .to_owned(),
            ))),
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn common(url: &str, options: &Options) -> sea_orm::ConnectOptions {
    let mut connect = sea_orm::ConnectOptions::new(url);
    connect
        .connect_timeout(options.connect_timeout)
        .acquire_timeout(options.acquire_timeout)
        .sqlx_logging(options.log_statements)
        .sqlx_logging_level(log::LevelFilter::Debug);
    connect
}

/// Reads the address as the driver does. sea-orm's own complaint about a malformed one would repeat it.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn checked<T: std::str::FromStr<Err = sea_orm::sqlx::Error>>(url: &str) -> Result<T, DbErr> {
    url.parse().map_err(connection_error)
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn connection_error(error: sea_orm::sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(std::sync::Arc::new(error)))
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    let url = match url.strip_prefix("postgresql:") {
        Some(rest) => format!("postgres:{rest}"),
        None => url.to_owned(),
    };
    checked::<sea_orm::sqlx::postgres::PgConnectOptions>(&url)?;
    let mut connect = common(&url, options);
    connect
        .max_connections(options.connections_max)
        .idle_timeout(options.idle_timeout)
        .statement_timeout(options.statement_timeout)
        .set_application_name("hm-metering");
    sea_orm::Database::connect(connect).await
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::Path;

    use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
    use sea_orm::{Database, DatabaseConnection, DbErr};

    use super::{Options, checked, common, connection_error};

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) enum Access {
        Write,
        Read,
    }

    pub(super) async fn connect(
        url: &str,
        options: &Options,
        access: Access,
    ) -> Result<DatabaseConnection, DbErr> {
        let address: SqliteConnectOptions = checked(url)?;
        let file = is_file(url);
        let create = file && access == Access::Write && !mode_is_fixed(url);
        if create {
            make_folder(&address)?;
        }
        let busy_timeout = options.statement_timeout;
        let mut connect = common(url, options);
        connect
            .max_connections(if access == Access::Read {
                options.readers_max
            } else {
                1
            })
            // A database in memory lives as long as its one connection.
            .idle_timeout((file && access == Access::Read).then_some(options.idle_timeout))
            .max_lifetime(None)
            .map_sqlx_sqlite_opts(move |sqlite: SqliteConnectOptions| {
                let sqlite = sqlite.foreign_keys(true).busy_timeout(busy_timeout);
                match (file, access) {
                    (true, Access::Write) => {
                        let sqlite = if create {
                            sqlite.create_if_missing(true)
                        } else {
                            sqlite
                        };
                        sqlite
                            .journal_mode(SqliteJournalMode::Wal)
                            .synchronous(SqliteSynchronous::Normal)
                    }
                    // Opening the file itself read-only would fail where the write-ahead log is still to be made.
                    (true, Access::Read) => sqlite.pragma("query_only", "ON"),
                    (false, _) => sqlite,
                }
            });
        Database::connect(connect).await
    }

    pub(super) fn is_file(url: &str) -> bool {
        !url.contains(":memory:") && !query(url).contains("mode=memory")
    }

    fn mode_is_fixed(url: &str) -> bool {
        query(url)
            .split('&')
            .any(|pair| pair == "mode=ro" || pair == "mode=rw")
    }

    fn query(url: &str) -> &str {
        url.split_once('?').map_or("", |(_, query)| query)
    }

    fn make_folder(address: &SqliteConnectOptions) -> Result<(), DbErr> {
        match address.get_filename().parent() {
            Some(folder) if folder != Path::new("") => {
                std::fs::create_dir_all(folder).map_err(|error| connection_error(error.into()))
            }
            _ => Ok(()),
        }
    }
}
