//! The journal: where finished requests wait for the database.

use std::path::PathBuf;
use std::time::Duration;

use hm_metering::usage::{Durability, Journal, WhenFull};

use super::DatabaseConfig;
use super::reader::Reader;

const MIB: u64 = 1 << 20;
/// A file of the journal, unless the whole journal is so small that it has to be cut finer.
const SEGMENT_BYTES: u64 = 8 * MIB;

/// `[usage.journal]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Where it is kept. One server at a time can use it.
    pub directory: PathBuf,
    /// What a finished request survives.
    pub durability: Durability,
    /// How many bytes of disk it takes at most.
    pub bytes_max: u64,
    /// What happens to requests when it is full.
    pub when_full: WhenFull,
}

/// The words for `durability`.
#[derive(Clone, Copy)]
enum Mode {
    None,
    Process,
    Power,
}

impl JournalConfig {
    /// None for a server that has none: because it is told so, or because its database is in memory and nothing is left
    /// that what the journal keeps could be added to.
    pub(super) fn read(reader: &mut Reader, database: &DatabaseConfig) -> Option<Self> {
        let modes = [
            ("process", Mode::Process),
            ("power", Mode::Power),
            ("none", Mode::None),
        ];
        let mode = reader.choice("usage.journal.durability", &modes);
        let sync_interval = reader.millis("usage.journal.sync_interval_ms", 1..=60_000);
        let directory = directory(reader, database);
        let config = Self {
            directory: directory.clone().unwrap_or_default(),
            durability: match mode {
                Mode::Power => Durability::Power(sync_interval),
                Mode::Process | Mode::None => Durability::Process,
            },
            bytes_max: reader.integer("usage.journal.bytes_max", MIB..=1024 * 1024 * MIB),
            when_full: reader.choice(
                "usage.journal.when_full",
                &[("refuse", WhenFull::Refuse), ("shed", WhenFull::Shed)],
            ),
        };
        (directory.is_some() && !matches!(mode, Mode::None)).then_some(config)
    }

    /// The same for the engine.
    pub fn to_journal(&self) -> Journal {
        Journal::new(&self.directory)
            .durability(self.durability)
            .bytes_max(self.bytes_max)
            .when_full(self.when_full)
            .segment_bytes(SEGMENT_BYTES.min(self.bytes_max / 8))
    }

    /// How often it is forced to the disk, if it is.
    #[must_use]
    pub const fn sync_interval(&self) -> Option<Duration> {
        match self.durability {
            Durability::Power(interval) => Some(interval),
            _ => None,
        }
    }
}

fn directory(reader: &mut Reader, database: &DatabaseConfig) -> Option<PathBuf> {
    let path = reader.text("usage.journal.directory");
    match path.as_str() {
        "auto" => (!database.is_in_memory()).then(|| database.folder().join("journal")),
        "" => {
            reader.mistake("usage.journal.directory", "must be a directory, or \"auto\"");
            None
        }
        _ => Some(path.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn journal(file: &str, variables: &[(&str, &str)]) -> Option<JournalConfig> {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Config::parse(file, variables).unwrap().usage.journal
    }

    fn directory_at(url: &str) -> Option<PathBuf> {
        journal("", &[("DATABASE_URL", url)]).map(|journal| journal.directory)
    }

    #[test]
    fn it_is_kept_beside_the_database_s_file_or_in_the_folder_for_data() {
        for (url, expected) in [
            ("sqlite://data/hm.sqlite", "data/journal"),
            ("sqlite:///var/lib/hm/hm.sqlite?mode=rwc", "/var/lib/hm/journal"),
            ("postgres://a:b@c/d", "data/journal"),
        ] {
            assert_eq!(directory_at(url).as_deref(), Some(Path::new(expected)), "{url}");
        }
        assert_eq!(directory_at("sqlite::memory:"), None);
    }

    #[test]
    fn nothing_set_means_that_requests_survive_the_process() {
        let journal = journal("", &[]).unwrap();
        assert_eq!(journal.durability, Durability::Process);
        assert_eq!(
            (journal.bytes_max, journal.when_full),
            (256 * MIB, WhenFull::Refuse)
        );
    }

    #[test]
    fn the_environment_says_where_and_how_lasting() {
        let file = "[usage.journal]\ndirectory = 'here'\nsync_interval_ms = 20\nwhen_full = 'shed'";
        let variables = [("HM_JOURNAL", "/var/spool/hm"), ("HM_DURABILITY", "power")];
        let journal_there = journal(file, &variables).unwrap();
        assert_eq!(journal_there.directory, Path::new("/var/spool/hm"));
        assert_eq!(journal_there.sync_interval(), Some(Duration::from_millis(20)));
        assert_eq!(journal_there.when_full, WhenFull::Shed);
        assert_eq!(journal(file, &[("HM_DURABILITY", "none")]), None);
    }

    #[test]
    fn every_mistake_is_named() {
        let file =
            "[usage.journal]\ndirectory = ''\nsync_interval_ms = 0\nbytes_max = 10\nwhen_full = 'panic'";
        let error = Config::parse(file, [("HM_DURABILITY".into(), "forever".into())]).unwrap_err();
        for part in [
            "usage.journal.directory",
            "usage.journal.sync_interval_ms",
            "usage.journal.bytes_max",
            "usage.journal.when_full",
            "usage.journal.durability (HM_DURABILITY)",
        ] {
            assert!(
                error.to_string().contains(part),
                "`{part}` is missing in: {error}"
            );
        }
    }
}
