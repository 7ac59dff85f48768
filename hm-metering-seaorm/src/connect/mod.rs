//! Opens connection pools with every time-out set and statement logs quiet.

#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
mod silence;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};

pub use self::silence::{silent, unless_silent};

/// Pool sizes and time-outs. The defaults suit one server process.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most connections to PostgreSQL, MariaDB or MySQL. SQLite always has one connection that writes.
    pub connections_max: u32,
    /// Most connections of a pool that only reads an SQLite file; see [`connect_reader`].
    pub readers_max: u32,
    /// How long opening the pool waits for the database's first answer; a server that is just starting is asked again
    /// until then. Connections that are made later are part of what a caller waits for.
    pub connect_timeout: Duration,
    /// How long a caller waits for a free connection, making new ones included.
    pub acquire_timeout: Duration,
    /// After this PostgreSQL and MariaDB break off a statement; MySQL only one that reads, and one that waits for rows or a table.
    /// SQLite waits this long for a lock that another process holds.
    pub statement_timeout: Duration,
    /// How long a statement waits for rows that another transaction holds, on servers. MariaDB and MySQL count whole seconds, at
    /// least one. It is meant to be less than [`MeterBuilder::store_timeout`](hm_metering::MeterBuilder::store_timeout), after
    /// which a lease is asked for anew, so that those who gave up don't keep connections; and more than the second after which
    /// PostgreSQL looks for deadlocks. Leases don't wait again, and neither does what gives them back; other work does, eight times
    /// in all. Steps of a migration and the months of the ledger have bounds of their own.
    pub lock_timeout: Duration,
    /// After this PostgreSQL and MariaDB end a session that does nothing in mid-transaction, and undo it: its process was
    /// stopped, or its host lost, and others wait for what it holds. MariaDB counts whole seconds, at least one. MySQL ends
    /// sessions that have done nothing for a minute, in a transaction or not.
    pub transaction_idle_timeout: Duration,
    /// How long a caller of [`SeaOrmStore`](crate::SeaOrmStore) waits for an operation as a whole. It goes on after that, so its
    /// outcome is then unknown; each can be repeated.
    pub operation_timeout: Duration,
    /// How long a connection may stay unused before it is closed. One that writes to SQLite stays open.
    pub idle_timeout: Duration,
    /// How long a connection to a server is used before another takes its place, so that it follows a name that leads to
    /// another server by now. SQLite's stay.
    pub max_lifetime: Duration,
    /// Whether an SQLite file is forced to the disk at each commit (`synchronous=FULL`), so that what was committed survives
    /// a power failure. Otherwise (`synchronous=NORMAL`) the last commits may be undone by one, all of them from some moment
    /// on, which takes back what a journal that is forced to the disk believes to be in the ledger. Servers of other
    /// databases have such a setting of their own.
    pub sqlite_full_sync: bool,
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
            lock_timeout: Duration::from_millis(1_500),
            transaction_idle_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(1_800),
            sqlite_full_sync: false,
            log_statements: false,
        }
    }
}

/// Connects to `sqlite://path?mode=rwc`, `sqlite:path`, `sqlite::memory:`, `postgres://…`, `mysql://…` or `mariadb://…`.
///
/// An SQLite file and its folder are made when they are missing (unless the address says `mode=ro` or `mode=rw`).
/// It is opened with a write-ahead log, `synchronous=NORMAL` unless [`Options::sqlite_full_sync`] says otherwise, foreign
/// keys on, and one connection: SQLite has one writer, and waiting for a connection is fairer than waiting for a lock.
///
/// PostgreSQL on this machine (`localhost` or a loopback address) is spoken to without TLS unless the address requires it
/// (`?sslmode=require` or more); elsewhere TLS is used where the server offers it.
///
/// Sessions are in UTC and isolated as "read committed", on MariaDB and MySQL in strict mode, so that a transaction locks rows and
/// not the gaps between them; what the server, the database or the user is set to does not matter. But for two things: a PostgreSQL
/// `search_path` says where the tables are, and who may only read (`default_transaction_read_only`, `transaction_read_only`) can't
/// write.
///
/// # Errors
///
/// When the address is malformed or its database isn't compiled in, and when the database doesn't answer. The
/// error never holds the address, which may hold a password.
#[cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    expect(unused_variables, reason = "no database is compiled in")
)]
pub async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    match Scheme::of(url)? {
        #[cfg(feature = "sqlite")]
        Scheme::Sqlite => sqlite::connect(url, options, sqlite::Access::Write).await,
        #[cfg(feature = "postgres")]
        Scheme::Postgres => postgres::connect(url, options).await,
        #[cfg(feature = "mysql")]
        Scheme::MySql => mysql::connect(url, options).await,
    }
}

/// Connects a second pool that only reads, where that helps: for an SQLite file, whose readers don't wait for the
/// writer. `None` for the other databases and for SQLite in memory.
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
        #[cfg(feature = "mysql")]
        Scheme::MySql => Ok(None),
    }
}

enum Scheme {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
    #[cfg(feature = "mysql")]
    MySql,
}

impl Scheme {
    /// sea-orm's own refusal would repeat the whole address, password included.
    fn of(url: &str) -> Result<Self, DbErr> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => Ok(Self::Sqlite),
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            #[cfg(feature = "mysql")]
            Some("mysql" | "mariadb") => Ok(Self::MySql),
            _ => Err(DbErr::Conn(RuntimeErr::Internal(
                "the database address must begin with `sqlite:`, `postgres:` or `mysql:`, and the crate's feature of that name be on"
                    .to_owned(),
            ))),
        }
    }
}

/// Reads the address as the driver does. sea-orm's own complaint about a malformed one would repeat it.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
fn checked<T: std::str::FromStr<Err = sea_orm::sqlx::Error>>(url: &str) -> Result<T, DbErr> {
    url.parse().map_err(connection_error)
}

#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub(crate) fn connection_error(error: sea_orm::sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(std::sync::Arc::new(error)))
}
