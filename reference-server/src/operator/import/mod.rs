//! `hm-server import`: keys by their digest, and what accounts have used, from CSV or JSON lines.
//!
//! Everything in the file is looked at before anything is changed, so a mistake anywhere changes nothing. What was imported
//! before is passed over, so a file can be given again.

mod bounded;
mod keys;
mod rows;
mod usage;

use std::io;
use std::path::{Path, PathBuf};

use hm_metering::key::LegacyBcrypt;
use hm_metering::{Peppers, StoreError, Timestamp};

use super::{OperatorError, open};
use crate::cli::Import;
use crate::config::Config;
use crate::domain::keys::pepper;
use crate::secrets::Secrets;

/// How many mistakes are told at once.
const MISTAKES_MAX: usize = 20;

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be read.
    #[error("{} can't be read", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is neither CSV nor JSON lines.
    #[error("{} must end in .csv or .jsonl", .0.display())]
    OtherFormat(PathBuf),
    /// There are more rows than can be looked at together.
    #[error("{} has more than {most} rows; split it", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// How many rows there may be.
        most: usize,
    },
    /// What is wrong, row by row. No value of a secret column is in it.
    #[error("nothing was imported:\n{}", .0.join("\n"))]
    Mistakes(Vec<String>),
    /// The ledger didn't take a row that was found to be right. Those before it are there.
    #[error("row {row} was not imported, nor those after it; give the file again")]
    Row {
        /// Which row.
        row: usize,
        /// What the ledger says.
        source: StoreError,
    },
    /// The secrets can't be used.
    #[error(transparent)]
    Secrets(#[from] crate::secrets::SecretsError),
    /// The pepper can't be used.
    #[error("KEY_PEPPER can't be used")]
    Pepper(#[from] hm_metering::key::PepperError),
    /// The plans of the settings can't be used.
    #[error("the plans can't be used")]
    Plans(#[from] hm_metering::PlansError),
}

/// What was found in a file, and what became of it.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rows: u64,
    new: u64,
    known: u64,
}

pub(super) async fn run(
    config: &Config,
    now: Timestamp,
    what: Import,
    (file, dry_run): (&Path, bool),
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let (database, store) = open(config).await?;
    let counts = match what {
        Import::Keys => {
            let rows = rows::read::<keys::Row>(file)?;
            let legacy = legacy(config)?;
            keys::import(&database, &store, rows, &keys::Import { now, dry_run, legacy }).await?
        }
        Import::Usage => {
            let rows = rows::read::<usage::Row>(file)?;
            let plans = config.plans.to_plans().map_err(ImportError::from)?;
            usage::import(&database, &store, &plans, rows, (now, dry_run)).await?
        }
    };
    let done = if dry_run { "would be imported" } else { "imported" };
    print(&format!(
        "{} rows: {} {done}, {} there already",
        counts.rows, counts.new, counts.known
    ));
    Ok(database.close().await?)
}

/// What keys of an earlier system are found by, where the settings say that there are some.
fn legacy(config: &Config) -> Result<Option<LegacyBcrypt>, ImportError> {
    let Some(legacy) = &config.keys.legacy else {
        return Ok(None);
    };
    let secrets = Secrets::resolve(config)?;
    let peppers = Peppers::new(pepper(&secrets.key_pepper)?);
    Ok(Some(LegacyBcrypt::new(peppers, legacy.start)))
}

/// Mistakes, each with its row; only so many are kept.
#[derive(Default)]
struct Mistakes {
    told: Vec<String>,
    more: usize,
}

impl Mistakes {
    fn add(&mut self, row: usize, what: &str) {
        if self.told.len() < MISTAKES_MAX {
            self.told.push(format!("row {row}: {what}"));
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Result<(), ImportError> {
        if self.told.is_empty() {
            return Ok(());
        }
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        Err(ImportError::Mistakes(self.told))
    }
}
