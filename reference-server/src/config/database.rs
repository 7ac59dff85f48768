//! Where data is kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hm_metering_seaorm::connect::Options;
use percent_encoding::percent_decode_str;

use super::reader::Reader;

const OPERATION_TIMEOUT: &str = "database.operation_timeout_ms";

/// `[database]`.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// The address. It may contain a password: it is never logged.
    pub url: String,
    /// Connections to a server kept open at most.
    pub max_connections: u32,
    /// Connections that read an SQLite file kept open at most; one writes.
    pub max_readers: u32,
    /// How long the start waits for the database's first answer.
    pub connect_timeout: Duration,
    /// How long a request waits for a free connection.
    pub acquire_timeout: Duration,
    /// How long the database may work on one statement, or wait for a lock.
    pub statement_timeout: Duration,
    /// How long a statement waits for rows that another transaction holds, on a server.
    pub lock_timeout: Duration,
    /// How long a session on a server may do nothing in mid-transaction before it is ended.
    pub transaction_idle_timeout: Duration,
    /// How long anything waits for the store as a whole.
    pub operation_timeout: Duration,
    /// How long a connection may stay unused before it is closed.
    pub idle_timeout: Duration,
    /// How long a connection to a server is used before another takes its place.
    pub max_lifetime: Duration,
    /// Whether an SQLite file is forced to the disk at each commit. It is where the journal survives a power failure: what
    /// the journal believes to be in the database must then survive it too.
    pub full_sync: bool,
}

/// Kinds of database.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backend {
    /// A file, or memory for tests.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// A MariaDB or MySQL server.
    MySql,
}

impl DatabaseConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let config = Self {
            url: reader.text("database.url"),
            max_connections: reader.small("database.max_connections", 1..=1000),
            max_readers: reader.small("database.max_readers", 1..=100),
            connect_timeout: reader.millis("database.connect_timeout_ms", 100..=600_000),
            acquire_timeout: reader.millis("database.acquire_timeout_ms", 100..=60_000),
            statement_timeout: reader.millis("database.statement_timeout_ms", 100..=600_000),
            lock_timeout: reader.millis("database.lock_timeout_ms", 100..=600_000),
            transaction_idle_timeout: reader.millis("database.transaction_idle_timeout_ms", 100..=600_000),
            operation_timeout: reader.millis(OPERATION_TIMEOUT, 100..=600_000),
            idle_timeout: reader.seconds("database.idle_timeout_s", 1..=86_400),
            max_lifetime: reader.seconds("database.max_lifetime_s", 1..=86_400),
            full_sync: false,
        };
        if config.operation_timeout < config.statement_timeout {
            reader.mistake(
                OPERATION_TIMEOUT,
                "must not be less than database.statement_timeout_ms: nobody would wait for such a statement",
            );
        }
        if backend(&config.url).is_none() {
            reader.mistake(
                "database.url",
                "must begin with `sqlite://`, `postgres://`, `mysql://` or `mariadb://`",
            );
        }
        config
    }

    /// The same for the store.
    #[must_use]
    pub fn options(&self) -> Options {
        Options {
            connections_max: self.max_connections,
            readers_max: self.max_readers,
            connect_timeout: self.connect_timeout,
            acquire_timeout: self.acquire_timeout,
            statement_timeout: self.statement_timeout,
            lock_timeout: self.lock_timeout,
            transaction_idle_timeout: self.transaction_idle_timeout,
            operation_timeout: self.operation_timeout,
            idle_timeout: self.idle_timeout,
            max_lifetime: self.max_lifetime,
            sqlite_full_sync: self.full_sync,
            ..Options::default()
        }
    }

    /// Which kind of database the address means.
    #[must_use]
    pub fn backend(&self) -> Backend {
        backend(&self.url).unwrap_or(Backend::Sqlite)
    }

    /// The folder of the SQLite file, or `data`: where generated secrets and the journal are kept.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let file = self.file();
        match file.as_deref().and_then(Path::parent) {
            Some(folder) if folder.as_os_str().is_empty() => PathBuf::from("."),
            Some(folder) => folder.to_path_buf(),
            None => PathBuf::from("data"),
        }
    }

    /// Whether it goes away with this process.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.backend() == Backend::Sqlite && self.file().is_none()
    }

    /// The path of the SQLite file, if it is one. In the address `%25` stands for `%`, and `%3F` for `?`.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let rest = self.url.strip_prefix("sqlite:")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let file = rest.split_once('?').map_or(rest, |(file, _)| file);
        let is_file = !file.is_empty() && !file.contains(":memory:");
        is_file.then(|| PathBuf::from(&*percent_decode_str(file).decode_utf8_lossy()))
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("backend", &self.backend())
            .field("max_connections", &self.max_connections)
            .field("max_readers", &self.max_readers)
            .field("connect_timeout", &self.connect_timeout)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("transaction_idle_timeout", &self.transaction_idle_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("max_lifetime", &self.max_lifetime)
            .field("full_sync", &self.full_sync)
            .finish_non_exhaustive()
    }
}

fn backend(url: &str) -> Option<Backend> {
    match url.split_once(':')?.0 {
        "sqlite" => Some(Backend::Sqlite),
        "postgres" | "postgresql" => Some(Backend::Postgres),
        "mysql" | "mariadb" => Some(Backend::MySql),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError};

    fn at(url: &str) -> DatabaseConfig {
        set(&format!("url = '{url}'")).unwrap()
    }

    fn set(settings: &str) -> Result<DatabaseConfig, ConfigError> {
        Config::parse(&format!("[database]\n{settings}"), Vec::new()).map(|config| config.database)
    }

    #[test]
    fn secrets_are_kept_beside_the_file() {
        assert_eq!(at("sqlite://data/hm.sqlite").folder(), Path::new("data"));
        assert_eq!(
            at("sqlite:///var/lib/hm/hm.sqlite?mode=rwc").folder(),
            Path::new("/var/lib/hm")
        );
        assert_eq!(at("sqlite:hm.sqlite").folder(), Path::new("."));
        assert_eq!(at("sqlite://a%20b%25/hm.sqlite").folder(), Path::new("a b%"));
        assert_eq!(at("sqlite::memory:").folder(), Path::new("data"));
        assert_eq!(at("postgres://a:b@c/d").folder(), Path::new("data"));
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", at("postgres://hm:hunter2@db/hm")).contains("hunter2"));
    }

    #[test]
    fn nothing_set_means_what_suits_one_server() {
        let (set, defaults) = (set("").unwrap().options(), Options::default());
        assert_eq!(set.connections_max, 16);
        assert_eq!(
            (
                set.readers_max,
                set.connect_timeout,
                set.acquire_timeout,
                set.statement_timeout
            ),
            (
                defaults.readers_max,
                defaults.connect_timeout,
                defaults.acquire_timeout,
                defaults.statement_timeout
            )
        );
        assert_eq!(
            (set.operation_timeout, set.idle_timeout, set.max_lifetime),
            (
                defaults.operation_timeout,
                defaults.idle_timeout,
                defaults.max_lifetime
            )
        );
        assert_eq!(
            (set.lock_timeout, set.transaction_idle_timeout),
            (defaults.lock_timeout, defaults.transaction_idle_timeout)
        );
    }

    #[test]
    fn each_size_and_time_out_is_a_setting() {
        let options = set("max_connections = 1
             max_readers = 2
             connect_timeout_ms = 300
             acquire_timeout_ms = 400
             statement_timeout_ms = 500
             operation_timeout_ms = 600
             idle_timeout_s = 7
             max_lifetime_s = 8
             lock_timeout_ms = 900
             transaction_idle_timeout_ms = 1000")
        .unwrap()
        .options();
        assert_eq!((options.connections_max, options.readers_max), (1, 2));
        assert_eq!(
            [
                options.connect_timeout,
                options.acquire_timeout,
                options.statement_timeout,
                options.operation_timeout,
                options.idle_timeout,
                options.max_lifetime,
                options.lock_timeout,
                options.transaction_idle_timeout
            ]
            .map(|time| time.as_millis()),
            [300, 400, 500, 600, 7_000, 8_000, 900, 1_000]
        );
    }

    #[test]
    fn sizes_and_time_outs_out_of_their_bounds_are_mistakes_all_at_once() {
        let names = [
            "max_connections",
            "max_readers",
            "connect_timeout_ms",
            "acquire_timeout_ms",
            "statement_timeout_ms",
            "lock_timeout_ms",
            "transaction_idle_timeout_ms",
            "operation_timeout_ms",
            "idle_timeout_s",
            "max_lifetime_s",
        ];
        for wrong in ["0", "9999999999", "'1'", "-1"] {
            let settings = names.map(|name| format!("{name} = {wrong}")).join("\n");
            let message = set(&settings).unwrap_err().to_string();
            for name in names {
                assert!(
                    message.contains(&format!("database.{name}: must be a whole number from")),
                    "{name} = {wrong}: {message}"
                );
            }
        }
    }

    #[test]
    fn a_statement_may_not_take_longer_than_anybody_waits() {
        let message = set("statement_timeout_ms = 20000").unwrap_err().to_string();
        assert!(
            message.contains("database.operation_timeout_ms: must not be less than"),
            "{message}"
        );
        set("statement_timeout_ms = 20000\noperation_timeout_ms = 20000").unwrap();
    }
}
