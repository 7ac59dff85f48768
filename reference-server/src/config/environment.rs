//! Which kind of installation this is, and the only place that reads the process environment.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::reader::Reader;

/// Variables that are settings. The second is the name in the file; secrets have none.
pub(super) const VARIABLES: &[(&str, Option<&str>)] = &[
    ("HM_CONFIG", None),
    ("HM_ENV", Some("environment")),
    ("HM_LISTEN", Some("http.listen")),
    ("DATABASE_URL", Some("database.url")),
    ("API_KEY_PREFIX", Some("keys.prefix")),
    ("HM_JOURNAL", Some("usage.journal.directory")),
    ("HM_DURABILITY", Some("usage.journal.durability")),
    ("RUST_LOG", Some("log.filter")),
    ("ADMIN_KEY", None),
    ("JWT_SECRET", None),
    ("KEY_PEPPER", None),
];

/// The environment of this process, to be given to [`Config::load`](super::Config::load).
#[must_use]
pub fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// Keeps the variables that are settings; an empty value counts as absent.
pub(super) fn known_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> (BTreeMap<String, String>, Vec<String>) {
    let mut known = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (name, value) in variables {
        let Some((name, _)) = VARIABLES.iter().find(|(known, _)| name == *known) else {
            continue;
        };
        match value.into_string() {
            Ok(value) if value.is_empty() => {}
            Ok(value) => {
                known.insert((*name).to_owned(), value);
            }
            Err(_) => mistakes.push(format!("{name}: is not valid UTF-8")),
        }
    }
    (known, mistakes)
}

/// What unsafe values are tolerated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Environment {
    /// Missing secrets are generated.
    Development,
    /// Missing and weak secrets are refused.
    Production,
}

impl Environment {
    pub(super) fn read(reader: &mut Reader) -> Self {
        reader.choice(
            "environment",
            &[
                ("development", Self::Development),
                ("production", Self::Production),
            ],
        )
    }

    /// Whether this is [`Environment::Production`].
    #[must_use]
    pub fn is_production(self) -> bool {
        self == Self::Production
    }
}
