//! Logging.

use super::Environment;
use super::reader::Reader;

/// `[log]`.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Directives for what is logged.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader, environment: Environment) -> Self {
        let format = reader.choice(
            "log.format",
            &[
                ("auto", None),
                ("text", Some(LogFormat::Text)),
                ("json", Some(LogFormat::Json)),
            ],
        );
        let by_environment = if environment.is_production() {
            LogFormat::Json
        } else {
            LogFormat::Text
        };
        Self {
            filter: reader.parsed("log.filter", "a log filter", "info".to_owned(), |text| {
                text.parse::<tracing_subscriber::filter::Targets>().ok()?;
                Some(text.to_owned())
            }),
            format: format.unwrap_or(by_environment),
        }
    }
}
