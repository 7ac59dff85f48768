//! What is wrong with the settings.

use std::fmt;

/// Every mistake that was found in the settings, each naming the setting.
///
/// Values of secrets and of the database address are never part of the text.
#[derive(Debug)]
pub struct ConfigError {
    mistakes: Vec<String>,
}

impl ConfigError {
    pub(super) fn new(mistakes: Vec<String>) -> Self {
        Self { mistakes }
    }

    /// One sentence per mistake.
    #[must_use]
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.len() {
            1 => write!(f, "there is a mistake in the settings:")?,
            count => write!(f, "there are {count} mistakes in the settings:")?,
        }
        for mistake in &self.mistakes {
            write!(f, "\n  - {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
