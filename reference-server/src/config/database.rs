//! Where data is kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Reader;

/// `[database]`.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// The address. It may contain a password: it is never logged.
    pub url: String,
    /// Connections kept open at most.
    pub max_connections: u32,
    /// How long a request waits for a free connection.
    pub acquire_timeout: Duration,
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
            acquire_timeout: reader.millis("database.acquire_timeout_ms", 100..=60_000),
        };
        if backend(&config.url).is_none() {
            reader.mistake(
                "database.url",
                "must begin with `sqlite://`, `postgres://`, `mysql://` or `mariadb://`",
            );
        }
        config
    }

    /// Which kind of database the address means.
    #[must_use]
    pub fn backend(&self) -> Backend {
        backend(&self.url).unwrap_or(Backend::Sqlite)
    }

    /// The folder of the SQLite file, or `data`: where generated secrets and the journal are kept.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.file()
            .and_then(|file| Path::new(file).parent())
            .map(|folder| {
                if folder.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    folder
                }
            })
            .unwrap_or(Path::new("data"))
            .to_path_buf()
    }

    /// Whether it goes away with this process.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.backend() == Backend::Sqlite && self.file().is_none()
    }

    /// The path of the SQLite file, if it is one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        let rest = self.url.strip_prefix("sqlite:")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let file = rest.split_once('?').map_or(rest, |(file, _)| file);
        (!file.is_empty() && !file.contains(":memory:")).then_some(file)
    }
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("backend", &self.backend())
            .field("max_connections", &self.max_connections)
            .field("acquire_timeout", &self.acquire_timeout)
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

    fn at(url: &str) -> DatabaseConfig {
        DatabaseConfig {
            url: url.to_owned(),
            max_connections: 1,
            acquire_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn secrets_are_kept_beside_the_file() {
        assert_eq!(at("sqlite://data/hm.sqlite").folder(), Path::new("data"));
        assert_eq!(
            at("sqlite:///var/lib/hm/hm.sqlite?mode=rwc").folder(),
            Path::new("/var/lib/hm")
        );
        assert_eq!(at("sqlite:hm.sqlite").folder(), Path::new("."));
        assert_eq!(at("sqlite::memory:").folder(), Path::new("data"));
        assert_eq!(at("postgres://a:b@c/d").folder(), Path::new("data"));
    }

    #[test]
    fn debug_shows_no_password() {
        assert!(!format!("{:?}", at("postgres://hm:hunter2@db/hm")).contains("hunter2"));
    }
}
