//! The usage ledger and requests without a key.

use std::time::Duration;

use super::reader::Reader;
use super::{DatabaseConfig, JournalConfig};

/// `[usage]`.
#[derive(Clone, Debug)]
pub struct UsageConfig {
    /// How often finished requests are written to the database.
    pub flush_interval: Duration,
    /// How long the last writes may take when the server stops.
    pub shutdown: Duration,
    /// Where they wait until then; in memory if nowhere.
    pub journal: Option<JournalConfig>,
}

impl UsageConfig {
    pub(super) fn read(reader: &mut Reader, database: &DatabaseConfig) -> Self {
        Self {
            flush_interval: reader.millis("usage.flush_interval_ms", 10..=60_000),
            shutdown: reader.millis("usage.shutdown_ms", 100..=600_000),
            journal: JournalConfig::read(reader, database),
        }
    }
}

/// `[demo]`.
#[derive(Clone, Debug)]
pub struct DemoConfig {
    /// Requests a day that one client address may make without a key; `None` refuses them.
    pub daily_quota: Option<u64>,
}

impl DemoConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            daily_quota: Some(reader.integer("demo.daily_quota", 0..=1_000_000)).filter(|quota| *quota > 0),
        }
    }
}
