//! `hm-server migrate`.

use hm_metering::Timestamp;
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::migration::{down, status, up};
use hm_metering_seaorm::operator::{make_months, make_partitions};

use super::{OperatorError, open};
use crate::cli::Command;
use crate::config::Config;
use crate::database::Database;
use crate::migration::Migrator;
use crate::telemetry::chain;

pub(super) async fn run(
    command: &Command,
    config: &Config,
    now: Timestamp,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let database = Database::connect_patiently(&config.database).await?;
    let db = database.writer();
    match command {
        Command::MigrateUp => up::<Migrator>(db).await?,
        Command::MigrateDown(steps) => down::<Migrator>(db, *steps).await?,
        _ => {}
    }
    for step in status::<Migrator>(db).await? {
        let state = match (step.known, step.applied) {
            (true, true) => "applied",
            (true, false) => "pending",
            (false, _) => "newer than this program",
        };
        print(&format!("{state} {}", step.name));
    }
    if *command == Command::MigrateUp
        && let Err(error) = make_partitions(&SeaOrmStore::new(db.clone()), now).await
    {
        // A server works without them, and makes them when it starts.
        print(&format!(
            "the months of the ledger can't be made now: {}",
            chain(&error)
        ));
    }
    Ok(database.close().await?)
}

/// Makes the ledger's months whatever that costs those who write.
pub(super) async fn months(
    config: &Config,
    now: Timestamp,
    ahead: u32,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let (database, store) = open(config).await?;
    let made = make_months(&store, now, ahead).await?;
    print(&format!("made {made} months of the ledger"));
    Ok(database.close().await?)
}
