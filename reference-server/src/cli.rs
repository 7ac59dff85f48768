//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use hm_metering::ReplicaId;

/// How to call the program.
pub const USAGE: &str = "\
hm-server: accounts, API keys, exact quotas and a usage ledger over HTTP

Usage:
  hm-server [serve]            migrate the database, then serve until a signal comes
  hm-server migrate up         bring the database to this version's schema
  hm-server migrate down [N]   undo the last migration, or the last N
  hm-server migrate months [N] on PostgreSQL, make the ledger's tables for this month and the next N (12), however long
                               writers have to wait for that
  hm-server migrate status     list migrations and whether they are applied
  hm-server check [--repair]   compare quota counters, events and rollups, and say where they differ;
                               --repair makes rollups anew from the events
  hm-server close-periods      close the summaries of periods that ended more than a day ago
  hm-server prune --keep-days N [--keep-minutes-days M]
                               remove events older than N days, and sums by minute older than M days;
                               sums by hour and day, counters and summaries stay
  hm-server leases             list replicas that hold leased units and were not seen for an hour
  hm-server leases forfeit --replica ID --confirm
                               give back what such a replica had leased, when it and its journal are lost for good
  hm-server backup FILE        copy an SQLite database into a new file, while servers go on working
  hm-server restore FILE       put such a copy where no database is yet
  hm-server import keys FILE [--dry-run]
  hm-server import usage FILE [--dry-run]
                               bring in keys by their digest, or what accounts have used, from .csv or .jsonl;
                               --dry-run looks at everything and changes nothing
  hm-server help | --help      show this text
  hm-server --version          show the version

The exit code is 0 when all is well, 1 after a failure and when a check finds a difference, 2 for wrong arguments, and 3
when the database's schema is newer or older than this program.

Settings come from the environment and from the TOML file that HM_CONFIG names. Nothing needs to be set to try it:
  HM_LISTEN     address to listen on                (127.0.0.1:8080)
  DATABASE_URL  sqlite://FILE, postgres://... or mysql://...  (sqlite://data/hm.sqlite)
  HM_ENV        development or production           (development)
  JWT_SECRET, KEY_PEPPER, ADMIN_KEY                 secrets; needed in production
";

/// How many months of the ledger are made ahead unless said, and at most.
const MONTHS: u32 = 12;
const MONTHS_MAX: u32 = 120;

/// What the program is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Serve.
    Serve,
    /// Bring the schema up to date.
    MigrateUp,
    /// Undo so many migrations.
    MigrateDown(u32),
    /// Make the ledger's months, from this one to so many ahead.
    MigrateMonths(u32),
    /// List migrations.
    MigrateStatus,
    /// Compare counters, events and rollups.
    Check {
        /// Make rollups anew where they differ from the events.
        repair: bool,
    },
    /// Close the summaries of periods that are over.
    ClosePeriods,
    /// Remove what is old.
    Prune {
        /// How many days of events stay.
        keep_days: u32,
        /// How many days of sums by minute stay; all of them unless said.
        keep_minutes_days: Option<u32>,
    },
    /// List the replicas that hold leases and are not seen any more.
    Leases,
    /// Give back what a lost replica had leased.
    Forfeit {
        /// Which replica.
        replica: ReplicaId,
        /// Whether somebody said that it is lost.
        confirmed: bool,
    },
    /// Copy the database into this file.
    Backup(PathBuf),
    /// Put this copy in the database's place.
    Restore(PathBuf),
    /// Bring something in.
    Import {
        /// What.
        what: Import,
        /// From where.
        file: PathBuf,
        /// Look, and change nothing.
        dry_run: bool,
    },
    /// Show [`USAGE`].
    Help,
    /// Show the version.
    Version,
}

/// What can be brought in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Import {
    /// Keys, by their digests.
    Keys,
    /// What accounts have used in their current periods.
    Usage,
}

/// Understands the arguments, without the name of the program.
///
/// # Errors
///
/// What is wrong with them, in one sentence.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let texts: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Names of files need not be text.
    let file = |place: usize| PathBuf::from(&arguments[place]);
    match words.as_slice() {
        [] | ["serve"] => Ok(Command::Serve),
        ["migrate", "up"] => Ok(Command::MigrateUp),
        ["migrate", "down"] => Ok(Command::MigrateDown(1)),
        ["migrate", "down", steps] => match steps.parse() {
            Ok(steps) if steps > 0 => Ok(Command::MigrateDown(steps)),
            _ => Err(format!("`{steps}` is not a number of migrations")),
        },
        ["migrate", "months"] => Ok(Command::MigrateMonths(MONTHS)),
        ["migrate", "months", months] => match months.parse() {
            Ok(months) if (1..=MONTHS_MAX).contains(&months) => Ok(Command::MigrateMonths(months)),
            _ => Err(format!(
                "`{months}` is not a number of months from 1 to {MONTHS_MAX}"
            )),
        },
        ["migrate", "status"] => Ok(Command::MigrateStatus),
        ["migrate"] => Err("`migrate` needs one of `up`, `down`, `months`, `status`".to_owned()),
        ["check"] => Ok(Command::Check { repair: false }),
        ["check", "--repair"] => Ok(Command::Check { repair: true }),
        ["close-periods"] => Ok(Command::ClosePeriods),
        ["prune", options @ ..] => prune(options),
        ["leases"] => Ok(Command::Leases),
        ["leases", "forfeit", options @ ..] => forfeit(options),
        ["backup" | "restore", path] if path.starts_with('-') => Err(format!(
            "`{path}` is not the name of a file; write ./{path} if it is"
        )),
        ["backup", _] => Ok(Command::Backup(file(1))),
        ["restore", _] => Ok(Command::Restore(file(1))),
        ["backup" | "restore"] => Err(format!("`{}` needs the name of a file", words[0])),
        ["import", what, options @ ..] => import(what, options, &arguments[2..]),
        ["import"] => Err("`import` needs one of `keys`, `usage`".to_owned()),
        ["help" | "--help" | "-h"] => Ok(Command::Help),
        ["--version" | "-V"] => Ok(Command::Version),
        other => Err(format!("`{}` is not a command", other.join(" "))),
    }
}

fn prune(options: &[&str]) -> Result<Command, String> {
    let (mut keep_days, mut keep_minutes_days) = (None, None);
    for pair in options.chunks(2) {
        let kept = match pair[0] {
            "--keep-days" => &mut keep_days,
            "--keep-minutes-days" => &mut keep_minutes_days,
            other => return Err(format!("`{other}` is not an option of `prune`")),
        };
        let days: Option<u32> = pair.get(1).and_then(|days| days.parse().ok());
        match days {
            Some(days) if days > 0 && kept.is_none() => *kept = Some(days),
            _ => return Err(format!("`{}` needs a number of days, once, at least 1", pair[0])),
        }
    }
    let keep_days = keep_days.ok_or("`prune` needs `--keep-days N`: nothing is removed by default")?;
    Ok(Command::Prune {
        keep_days,
        keep_minutes_days,
    })
}

fn forfeit(options: &[&str]) -> Result<Command, String> {
    let (mut replica, mut confirmed) = (None, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--confirm" => confirmed = true,
            "--replica" if replica.is_none() => {
                let id: Option<ReplicaId> = options.next().and_then(|id| id.parse().ok());
                replica = Some(id.ok_or("`--replica` needs an id as `hm-server leases` lists it")?);
            }
            other => {
                return Err(format!(
                    "`{other}` is not an option of `leases forfeit`, or is one too many"
                ));
            }
        }
    }
    let replica = replica.ok_or("`leases forfeit` needs `--replica ID`")?;
    Ok(Command::Forfeit { replica, confirmed })
}

fn import(what: &str, options: &[&str], arguments: &[OsString]) -> Result<Command, String> {
    let what = match what {
        "keys" => Import::Keys,
        "usage" => Import::Usage,
        other => return Err(format!("`{other}` can't be imported; `keys` and `usage` can")),
    };
    let (mut file, mut dry_run) = (None, false);
    for (option, argument) in options.iter().zip(arguments) {
        match *option {
            "--dry-run" => dry_run = true,
            other if other.starts_with('-') => return Err(format!("`{other}` is not an option of `import`")),
            _ if file.is_none() => file = Some(PathBuf::from(argument)),
            other => return Err(format!("`{other}` is one file too many")),
        }
    }
    let file = file.ok_or("`import` needs the name of a file")?;
    Ok(Command::Import { what, file, dry_run })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn commands_are_understood() {
        assert_eq!(parsed(""), Ok(Command::Serve));
        assert_eq!(parsed("serve"), Ok(Command::Serve));
        assert_eq!(parsed("migrate up"), Ok(Command::MigrateUp));
        assert_eq!(parsed("migrate down"), Ok(Command::MigrateDown(1)));
        assert_eq!(parsed("migrate down 3"), Ok(Command::MigrateDown(3)));
        assert_eq!(parsed("migrate status"), Ok(Command::MigrateStatus));
        assert_eq!(parsed("migrate months"), Ok(Command::MigrateMonths(12)));
        assert_eq!(parsed("migrate months 3"), Ok(Command::MigrateMonths(3)));
        assert_eq!(parsed("check"), Ok(Command::Check { repair: false }));
        assert_eq!(parsed("check --repair"), Ok(Command::Check { repair: true }));
        assert_eq!(parsed("close-periods"), Ok(Command::ClosePeriods));
        assert_eq!(parsed("leases"), Ok(Command::Leases));
        assert_eq!(parsed("backup a.sqlite"), Ok(Command::Backup("a.sqlite".into())));
        assert_eq!(
            parsed("restore a.sqlite"),
            Ok(Command::Restore("a.sqlite".into()))
        );
        assert_eq!(parsed("--help"), Ok(Command::Help));
        assert_eq!(parsed("-V"), Ok(Command::Version));
    }

    #[test]
    fn options_may_come_in_any_order() {
        for line in [
            "prune --keep-days 90 --keep-minutes-days 30",
            "prune --keep-minutes-days 30 --keep-days 90",
        ] {
            let expected = Command::Prune {
                keep_days: 90,
                keep_minutes_days: Some(30),
            };
            assert_eq!(parsed(line), Ok(expected));
        }
        let id = "0198c5a0-0000-7000-8000-000000000001";
        for (line, confirmed) in [
            (format!("leases forfeit --replica {id}"), false),
            (format!("leases forfeit --replica {id} --confirm"), true),
            (format!("leases forfeit --confirm --replica {id}"), true),
        ] {
            let replica = id.parse().unwrap();
            assert_eq!(parsed(&line), Ok(Command::Forfeit { replica, confirmed }));
        }
        for line in ["import keys k.csv --dry-run", "import keys --dry-run k.csv"] {
            let expected = Command::Import {
                what: Import::Keys,
                file: "k.csv".into(),
                dry_run: true,
            };
            assert_eq!(parsed(line), Ok(expected));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("surve", "`surve`"),
            ("migrate", "`up`"),
            ("migrate sideways", "migrate sideways"),
            ("migrate down none", "`none`"),
            ("migrate down 0", "`0`"),
            ("migrate months 121", "1 to 120"),
            ("serve now", "serve now"),
            ("check --fix", "check --fix"),
            ("prune", "--keep-days"),
            ("prune --keep-days", "number of days"),
            ("prune --keep-days 0", "at least 1"),
            ("prune --keep-days 9 --keep-days 8", "once"),
            ("prune --keep 9", "`--keep`"),
            ("leases close", "leases close"),
            ("leases forfeit", "--replica ID"),
            ("leases forfeit --replica", "needs an id"),
            ("leases forfeit --replica all", "needs an id"),
            ("leases forfeit --force", "`--force`"),
            ("backup", "name of a file"),
            ("restore --now", "`--now`"),
            ("import", "`keys`"),
            ("import people a.csv", "`people`"),
            ("import keys", "name of a file"),
            ("import keys a.csv b.csv", "`b.csv`"),
            ("import keys a.csv --force", "`--force`"),
        ] {
            let mistake = parsed(line).unwrap_err();
            assert!(mistake.contains(part), "{line}: {mistake}");
        }
    }
}
