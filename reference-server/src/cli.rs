//! The command line.

use std::ffi::OsString;

/// How to call the program.
pub const USAGE: &str = "\
hm-server: accounts, API keys, exact quotas and a usage ledger over HTTP

Usage:
  hm-server [serve]          migrate the database, then serve until a signal comes
  hm-server migrate up       bring the database to this version's schema
  hm-server migrate down [N] undo the last migration, or the last N
  hm-server migrate status   list migrations and whether they are applied
  hm-server help | --help    show this text
  hm-server --version        show the version

Settings come from the environment and from the TOML file that HM_CONFIG names. Nothing needs to be set to try it:
  HM_LISTEN     address to listen on                (127.0.0.1:8080)
  DATABASE_URL  sqlite://FILE, postgres://... or mysql://...  (sqlite://data/hm.sqlite)
  HM_ENV        development or production           (development)
  JWT_SECRET, KEY_PEPPER, ADMIN_KEY                 secrets; needed in production
";

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Serve.
    Serve,
    /// Bring the schema up to date.
    MigrateUp,
    /// Undo so many migrations.
    MigrateDown(u32),
    /// List migrations.
    MigrateStatus,
    /// Show [`USAGE`].
    Help,
    /// Show the version.
    Version,
}

/// Understands the arguments, without the name of the program.
///
/// # Errors
///
/// What is wrong with them, in one sentence.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let arguments: Vec<String> = arguments
        .into_iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["serve"] => Ok(Command::Serve),
        ["migrate", "up"] => Ok(Command::MigrateUp),
        ["migrate", "down"] => Ok(Command::MigrateDown(1)),
        ["migrate", "down", steps] => match steps.parse() {
            Ok(steps) if steps > 0 => Ok(Command::MigrateDown(steps)),
            _ => Err(format!("`{steps}` is not a number of migrations")),
        },
        ["migrate", "status"] => Ok(Command::MigrateStatus),
        ["migrate"] => Err("`migrate` needs one of `up`, `down`, `status`".to_owned()),
        ["help" | "--help" | "-h"] => Ok(Command::Help),
        ["--version" | "-V"] => Ok(Command::Version),
        other => Err(format!("`{}` is not a command", other.join(" "))),
    }
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
        assert_eq!(parsed("--help"), Ok(Command::Help));
        assert_eq!(parsed("-V"), Ok(Command::Version));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, part) in [
            ("surve", "`surve`"),
            ("migrate", "`up`"),
            ("migrate sideways", "migrate sideways"),
            ("migrate down none", "`none`"),
            ("migrate down 0", "`0`"),
            ("serve now", "serve now"),
        ] {
            assert!(parsed(line).unwrap_err().contains(part), "{line}");
        }
    }
}
