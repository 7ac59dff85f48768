//! Reads settings by name and collects every mistake on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::{Table, Value};

use super::environment::VARIABLES;
use super::{ConfigError, DEFAULTS};

/// Looks a setting up in the environment, the file and the defaults, in this order.
///
/// Every method returns a usable value even after a mistake, so that reading goes on; [`Reader::finish`] then fails.
#[derive(Debug)]
pub(super) struct Reader {
    file: Table,
    defaults: Table,
    variables: BTreeMap<String, String>,
    used: BTreeSet<String>,
    mistakes: Vec<String>,
}

impl Reader {
    pub(super) fn new(file: &str, variables: BTreeMap<String, String>, mut mistakes: Vec<String>) -> Self {
        let file = file.parse::<Table>().unwrap_or_else(|error| {
            mistakes.push(format!(
                "the settings file is not TOML: {}",
                one_line(&error, file)
            ));
            Table::new()
        });
        let defaults = DEFAULTS.parse::<Table>().unwrap_or_else(|error| {
            mistakes.push(format!("the built-in defaults are not TOML: {error}"));
            Table::new()
        });
        Self {
            file,
            defaults,
            variables,
            used: BTreeSet::new(),
            mistakes,
        }
    }

    /// Adds a mistake about a setting. The text must not contain a secret.
    pub(super) fn mistake(&mut self, path: &str, what: impl Display) {
        let given = self
            .variable_of(path)
            .filter(|name| self.variables.contains_key(*name));
        self.mistakes.push(match given {
            Some(name) => format!("{path} ({name}): {what}"),
            None => format!("{path}: {what}"),
        });
    }

    /// A variable that has no name in the file.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Names of the tables below `path`, in the file and in the defaults.
    pub(super) fn tables(&self, path: &str) -> BTreeSet<String> {
        [&self.file, &self.defaults]
            .into_iter()
            .filter_map(|root| find(root, path)?.as_table())
            .flat_map(|table| table.iter().filter(|(_, value)| value.is_table()))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Any text.
    pub(super) fn text(&mut self, path: &str) -> String {
        match self.look_up(path) {
            Some(Value::String(text)) => text,
            other => self.unfit(path, other.as_ref(), "must be text"),
        }
    }

    /// Text that `parse` accepts. The value is shown in the mistake, so this is not for secrets.
    pub(super) fn parsed<T>(
        &mut self,
        path: &str,
        what: &str,
        fallback: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> T {
        let text = self.text(path);
        parse(&text).unwrap_or_else(|| {
            if !text.is_empty() {
                self.mistake(path, format_args!("`{text}` is not {what}"));
            }
            fallback
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, choices: &[(&str, T)]) -> T {
        let text = self.text(path);
        let found = choices.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.mistake(path, format_args!("`{text}` is not one of {}", names.join(", ")));
        }
        found.unwrap_or(&choices[0]).1
    }

    /// A whole number in a range.
    pub(super) fn integer(&mut self, path: &str, range: RangeInclusive<u64>) -> u64 {
        let value = self.look_up(path);
        self.in_range(path, value.as_ref(), range, "")
    }

    /// A whole number in a range, or `"unlimited"`.
    pub(super) fn limit(&mut self, path: &str, range: RangeInclusive<u64>) -> Option<u64> {
        match self.look_up(path) {
            Some(Value::String(text)) if text == "unlimited" => None,
            value => Some(self.in_range(path, value.as_ref(), range, " or \"unlimited\"")),
        }
    }

    /// A number that fits `usize`.
    pub(super) fn size(&mut self, path: &str, range: RangeInclusive<u64>) -> usize {
        usize::try_from(self.integer(path, range)).unwrap_or(usize::MAX)
    }

    /// A number that fits `u32`.
    pub(super) fn small(&mut self, path: &str, range: RangeInclusive<u64>) -> u32 {
        u32::try_from(self.integer(path, range)).unwrap_or(u32::MAX)
    }

    /// A span in milliseconds.
    pub(super) fn millis(&mut self, path: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.integer(path, range))
    }

    /// A span in seconds.
    pub(super) fn seconds(&mut self, path: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.integer(path, range))
    }

    /// A list of texts, each accepted by `parse`.
    pub(super) fn list<T>(&mut self, path: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let Some(Value::Array(values)) = self.look_up(path) else {
            self.mistake(path, "must be a list of texts");
            return Vec::new();
        };
        let mut list = Vec::with_capacity(values.len());
        for value in values {
            match value.as_str().map(&parse) {
                Some(Some(item)) => list.push(item),
                _ => self.mistake(path, format_args!("{value} is not {what}")),
            }
        }
        list
    }

    /// Fails if there was any mistake; what nobody asked for is one.
    pub(super) fn finish(mut self) -> Result<(), ConfigError> {
        let mut unknown = Vec::new();
        collect_unknown(&self.file, "", &self.used, &mut unknown);
        self.mistakes.extend(
            unknown
                .into_iter()
                .map(|path| format!("{path}: there is no such setting")),
        );
        if self.mistakes.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::new(self.mistakes))
        }
    }

    fn look_up(&mut self, path: &str) -> Option<Value> {
        self.used.insert(path.to_owned());
        if let Some(value) = self.variable_of(path).and_then(|name| self.variables.get(name)) {
            return Some(Value::String(value.clone()));
        }
        find(&self.file, path)
            .or_else(|| find(&self.defaults, path))
            .cloned()
    }

    fn variable_of(&self, path: &str) -> Option<&'static str> {
        VARIABLES
            .iter()
            .find(|(_, name)| *name == Some(path))
            .map(|(variable, _)| *variable)
    }

    fn in_range(&mut self, path: &str, value: Option<&Value>, range: RangeInclusive<u64>, or: &str) -> u64 {
        let number = match value {
            Some(Value::Integer(number)) => u64::try_from(*number).ok(),
            _ => None,
        };
        match number {
            Some(number) if range.contains(&number) => number,
            _ => {
                let what = format!("must be a whole number from {} to {}{or}", range.start(), range.end());
                let _: String = self.unfit(path, value, &what);
                *range.start()
            }
        }
    }

    fn unfit<T: Default>(&mut self, path: &str, value: Option<&Value>, what: &str) -> T {
        match value {
            None => self.mistake(path, format_args!("is missing; {what}")),
            Some(_) => self.mistake(path, what),
        }
        T::default()
    }
}

fn find<'a>(root: &'a Table, path: &str) -> Option<&'a Value> {
    let (first, rest) = path
        .split_once('.')
        .map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = root.get(first)?;
    match rest {
        None => Some(value),
        Some(rest) => find(value.as_table()?, rest),
    }
}

fn collect_unknown(table: &Table, above: &str, used: &BTreeSet<String>, unknown: &mut Vec<String>) {
    for (name, value) in table {
        let path = if above.is_empty() {
            name.clone()
        } else {
            format!("{above}.{name}")
        };
        if used.contains(&path) {
            continue;
        }
        let below = format!("{path}.");
        match value {
            Value::Table(inner) if used.iter().any(|known| known.starts_with(&below)) => {
                collect_unknown(inner, &path, used, unknown);
            }
            _ => unknown.push(path),
        }
    }
}

fn one_line(error: &toml::de::Error, text: &str) -> String {
    let line = error
        .span()
        .map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message()),
        None => error.message().to_owned(),
    }
}
