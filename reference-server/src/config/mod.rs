//! Settings: one struct per concern, read from the built-in defaults, a TOML file and the environment, in this order.
//!
//! Reading never stops at the first mistake: [`ConfigError`] lists them all.

mod auth;
mod database;
mod environment;
mod error;
mod http;
mod journal;
mod keys;
mod log;
mod plans;
mod reader;
mod secrets;
mod sources;
mod usage;

use std::ffi::OsString;

pub use self::auth::{AuthConfig, LoginConfig, PasswordConfig};
pub use self::database::{Backend, DatabaseConfig};
pub use self::environment::{Environment, process_environment};
pub use self::error::ConfigError;
pub use self::http::HttpConfig;
pub use self::journal::JournalConfig;
pub use self::keys::{KeysConfig, LegacyKeys};
pub use self::log::{LogConfig, LogFormat};
pub use self::plans::{PlanConfig, PlansConfig};
pub use self::secrets::SecretsConfig;
pub use self::usage::{DemoConfig, UsageConfig};

use self::reader::Reader;
use crate::sources::SourcesConfig;

/// The settings that hold when nothing is said, with a comment on each.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Every setting of the server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Development or production.
    pub environment: Environment,
    /// Listening and the limits on requests.
    pub http: HttpConfig,
    /// Where data is kept.
    pub database: DatabaseConfig,
    /// Tokens, passwords and login limits.
    pub auth: AuthConfig,
    /// API keys.
    pub keys: KeysConfig,
    /// Plans that accounts can be on.
    pub plans: PlansConfig,
    /// The usage ledger.
    pub usage: UsageConfig,
    /// The sources behind the data route.
    pub sources: SourcesConfig,
    /// Requests without a key.
    pub demo: DemoConfig,
    /// Logging.
    pub log: LogConfig,
    /// Secrets as given; see [`crate::secrets`] for those that are not.
    pub secrets: SecretsConfig,
}

impl Config {
    /// Reads the environment and the file that `HM_CONFIG` names, if it names one.
    ///
    /// # Errors
    ///
    /// All mistakes at once: unreadable file, unknown names, wrong types, values out of range, unsafe values in
    /// production.
    pub fn load(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let (variables, mut mistakes) = environment::known_variables(variables);
        let file = match variables.get("HM_CONFIG") {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).unwrap_or_else(|error| {
                mistakes.push(format!("HM_CONFIG: cannot read {path}: {error}"));
                String::new()
            }),
        };
        Self::read(Reader::new(&file, variables, mistakes))
    }

    /// Reads settings from the text of a TOML file and from variables; touches neither disk nor process.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn parse(
        file: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let (variables, mistakes) = environment::known_variables(variables);
        Self::read(Reader::new(file, variables, mistakes))
    }

    fn read(mut reader: Reader) -> Result<Self, ConfigError> {
        let environment = Environment::read(&mut reader);
        let mut database = DatabaseConfig::read(&mut reader);
        let usage = UsageConfig::read(&mut reader, &database);
        let journal = usage.journal.as_ref();
        database.full_sync = journal.is_some_and(|journal| journal.sync_interval().is_some());
        let config = Self {
            environment,
            http: HttpConfig::read(&mut reader),
            auth: AuthConfig::read(&mut reader, environment),
            keys: KeysConfig::read(&mut reader),
            plans: PlansConfig::read(&mut reader),
            usage,
            database,
            sources: sources::read(&mut reader),
            demo: DemoConfig::read(&mut reader),
            log: LogConfig::read(&mut reader, environment),
            secrets: SecretsConfig::read(&mut reader, environment),
        };
        reader.finish()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn nothing_set_means_development_on_an_sqlite_file() {
        let config = Config::parse("", Vec::new()).unwrap();
        assert_eq!(config.environment, Environment::Development);
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.database.backend(), Backend::Sqlite);
        assert_eq!(config.auth.access_token_ttl.as_secs(), 900);
        let free = config.plans.get("free").unwrap();
        assert_eq!(
            (free.requests_per_month, free.requests_per_second),
            (Some(1000), Some(100))
        );
        assert_eq!(config.plans.get("enterprise").unwrap().requests_per_month, None);
        assert_eq!(config.demo.daily_quota, None);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
        let file = "[http]\nlisten = '127.0.0.1:9000'\nbody_limit_bytes = 2048\n[keys]\nprefix = 'acme'";
        let config = Config::parse(
            file,
            variables(&[
                ("HM_LISTEN", "0.0.0.0:80"),
                ("API_KEY_PREFIX", "hm_"),
                ("UNRELATED", "x"),
            ]),
        )
        .unwrap();
        assert_eq!(config.http.listen.to_string(), "0.0.0.0:80");
        assert_eq!(config.http.body_limit_bytes, 2048);
        assert_eq!(config.keys.format.prefix(), "hm");
    }

    #[test]
    fn all_mistakes_are_reported_in_one_message() {
        let file = "
            [http]
            lisen = '127.0.0.1:1'
            body_limit_bytes = 'many'
            [auth]
            access_token_ttl_s = 0
            [plans.free]
            requests_per_month = -1
            [plans.team]
            requests_per_month = 5
            [nonsense]
            a = 1
            [usage.journal]
            durability = 'forever'
            [log]
            format = 'xml'
        ";
        let error = Config::parse(
            file,
            variables(&[
                ("HM_LISTEN", "here"),
                ("DATABASE_URL", "oracle://user:hunter2@x/y"),
                ("HM_ENV", "prod"),
            ]),
        )
        .unwrap_err();
        let message = error.to_string();
        for part in [
            "http.lisen",
            "http.body_limit_bytes",
            "http.listen (HM_LISTEN)",
            "auth.access_token_ttl_s",
            "plans.free.requests_per_month",
            "plans.team.requests_per_second",
            "nonsense",
            "usage.journal.durability",
            "log.format",
            "database.url (DATABASE_URL)",
            "environment (HM_ENV)",
        ] {
            assert!(message.contains(part), "`{part}` is missing in: {message}");
        }
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn a_file_that_is_not_toml_is_one_mistake_with_its_line() {
        let error = Config::parse("[http\nlisten = 1", Vec::new()).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }

    #[test]
    fn production_refuses_missing_and_weak_secrets_all_at_once() {
        let error = Config::parse(
            "[auth.password]\nmemory_kib = 1024",
            variables(&[
                ("HM_ENV", "production"),
                ("JWT_SECRET", "abcabcabcabcabcabcabcabcabcabcabcabcabcabc"),
                ("ADMIN_KEY", "short"),
            ]),
        )
        .unwrap_err();
        let message = error.to_string();
        for part in [
            "JWT_SECRET",
            "KEY_PEPPER",
            "ADMIN_KEY",
            "auth.password.memory_kib",
        ] {
            assert!(message.contains(part), "`{part}` is missing in: {message}");
        }
        assert!(
            !message.contains("abcabc") && !message.contains("short\""),
            "{message}"
        );
    }

    #[test]
    fn production_accepts_random_secrets() {
        let config = Config::parse(
            "",
            variables(&[
                ("HM_ENV", "production"),
                ("JWT_SECRET", "q8Zt2mV7xPn4Lw9Rk3Yc6Hs1Jd5Fg0Ba"),
                ("KEY_PEPPER", "1f9c2e7ab4d8036e5fa1c7b29d40e86315fc"),
            ]),
        )
        .unwrap();
        assert_eq!(config.environment, Environment::Production);
        assert_eq!(config.log.format, LogFormat::Json);
        let shown = format!("{config:?}");
        assert!(
            !shown.contains("q8Zt2m") && !shown.contains("1f9c2e"),
            "a secret is in Debug"
        );
    }
}
