//! What operators do from the command line, beside a running server or without one.

mod backup;
mod check;
mod draft;
mod import;
mod leases;
mod migrate;
mod prune;

use std::error::Error;
use std::sync::Arc;

use hm_metering::{Clock, StoreError};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::migration::{MigrateError, must_be_current};
use hm_metering_seaorm::operator::{CLOSING_GRACE, close_periods};
use sea_orm::DbErr;

use crate::app::StartError;
use crate::cli::Command;
use crate::config::Config;
use crate::database::{Database, PATIENCE};
use crate::migration::Migrator;

pub use self::backup::BackupError;
pub use self::import::ImportError;
pub use self::leases::LeasesError;

/// How many summaries are closed in one transaction.
pub(crate) const CLOSED_AT_ONCE: u64 = 500;

/// How a command ended that did what it was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// All is well.
    Well,
    /// Numbers differ that should not.
    Differs,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The database doesn't answer.
    #[error("the database can't be used")]
    Database(#[from] DbErr),
    /// The schema isn't the one this program works with.
    #[error(transparent)]
    Schema(#[from] MigrateError),
    /// The ledger can't be read or changed.
    #[error("the ledger can't be used")]
    Store(#[from] StoreError),
    /// No backup, or none that can be restored.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A replica keeps its leases.
    #[error(transparent)]
    Leases(#[from] LeasesError),
    /// What was to be imported can't be.
    #[error(transparent)]
    Import(#[from] ImportError),
}

/// Whether a failure means that the database's schema is newer or older than this program.
#[must_use]
pub fn is_of_other_schema(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // Errors that speak with the schema's words don't name it as their source.
        let schema = match (error.downcast_ref(), error.downcast_ref()) {
            (Some(OperatorError::Schema(schema)), _) | (_, Some(StartError::Schema(schema))) => Some(schema),
            _ => error.downcast_ref(),
        };
        if let Some(schema) = schema {
            return !matches!(schema, MigrateError::Database(_));
        }
        next = error.source();
    }
    false
}

/// Does what `command` says, unless that is to serve or to show something, and tells `print` about it line by line.
///
/// # Errors
///
/// What stopped it. Commands that were stopped can be given again.
pub async fn run(
    command: &Command,
    config: &Config,
    clock: Arc<dyn Clock>,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<Verdict, OperatorError> {
    match command {
        Command::MigrateUp | Command::MigrateDown(_) | Command::MigrateStatus => {
            migrate::run(command, config, clock.now(), print).await?;
        }
        Command::MigrateMonths(ahead) => migrate::months(config, clock.now(), *ahead, print).await?,
        Command::Check { repair } => return check::run(config, *repair, print).await,
        Command::ClosePeriods => close(config, clock.as_ref(), print).await?,
        Command::Prune {
            keep_days,
            keep_minutes_days,
        } => prune::run(config, clock.now(), (*keep_days, *keep_minutes_days), print).await?,
        Command::Leases => leases::list(config, clock.now(), print).await?,
        Command::Forfeit { replica, confirmed } => {
            leases::forfeit(config, clock.now(), (*replica, *confirmed), print).await?;
        }
        Command::Backup(file) => backup::backup(config, file, print).await?,
        Command::Restore(file) => backup::restore(config, file, print).await?,
        Command::Import { what, file, dry_run } => {
            import::run(config, clock.now(), *what, (file, *dry_run), print).await?;
        }
        Command::Serve | Command::Help | Command::Version => {}
    }
    Ok(Verdict::Well)
}

/// The database with the schema of this program, and the store on it.
async fn open(config: &Config) -> Result<(Database, SeaOrmStore), OperatorError> {
    let database = Database::connect_patiently(&config.database).await?;
    must_be_current::<Migrator>(database.writer()).await?;
    let store = SeaOrmStore::new(database.writer().clone())
        .with_reader(database.reader().clone())
        .with_operation_timeout(PATIENCE);
    Ok((database, store))
}

async fn close(
    config: &Config,
    clock: &dyn Clock,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let (database, store) = open(config).await?;
    let mut closed = 0;
    loop {
        match close_periods(&store, clock.now(), CLOSING_GRACE, CLOSED_AT_ONCE).await? {
            0 => break,
            some => closed += some,
        }
    }
    print(&format!("closed {closed} summaries"));
    Ok(database.close().await?)
}
