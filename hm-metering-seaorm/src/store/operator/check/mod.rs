//! Counters = ledger = rollups: whether what is written down several times agrees.

mod days;
mod periods;

use hm_metering::{AccountId, StoreResult};
use sea_orm::DatabaseConnection;
use sea_orm::prelude::Uuid;
use tokio::sync::mpsc;

use super::compare::Difference;
use super::{accounts, marks, partitions};
use crate::SeaOrmStore;
use crate::error::Failure;
use crate::store::run::owned;
use crate::store::usage::question::snapshot;

/// How many differences may wait to be looked at.
const WAITING: usize = 64;

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Accounts with anything in the ledger.
    pub accounts: u64,
    /// Quota counters.
    pub counters: u64,
    /// Pairs of a day and a meter.
    pub days: u64,
    /// Counters that nothing could be compared with, because events and sums by minute of their time were pruned.
    pub unchecked: u64,
    /// Numbers that differ.
    pub differences: u64,
}

/// Compares quota counters with the events and rollups of their periods, leases with what counters say is leased, summaries
/// with counters, and rollups with events day by day. `found` is told each difference as soon as it is seen.
///
/// Each account is looked at in one view of the database, so servers may go on working. Memory grows with the days and
/// periods of one account, not with events or accounts. Events before the moment up to which they were pruned are not
/// missed: there, counters are compared with rollups alone.
///
/// A request that had to wait for a store across the end of a period is charged in the next one. So units of requests
/// that came within the last minute of a period may be found in the counter of the next.
///
/// Dropping the future ends the asking; nothing is ever changed.
///
/// # Errors
///
/// When the database doesn't answer, or holds what can't be read.
pub async fn check(store: &SeaOrmStore, mut found: impl FnMut(&Difference) + Send) -> StoreResult<Checked> {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let reader = store.0.reader.clone();
    let work = owned(
        "check the ledger",
        None,
        async move { all(&reader, sender).await },
    );
    let mut work = std::pin::pin!(work);
    let mut differences = 0;
    let mut note = |difference: Difference| {
        differences += 1;
        found(&difference);
    };
    let result = loop {
        tokio::select! {
            Some(difference) = receiver.recv() => note(difference),
            result = &mut work => break result,
        }
    };
    while let Ok(difference) = receiver.try_recv() {
        note(difference);
    }
    let mut checked = result?;
    checked.differences = differences;
    Ok(checked)
}

async fn all(db: &DatabaseConnection, found: mpsc::Sender<Difference>) -> Result<Checked, Failure> {
    let mut checked = Checked::default();
    let mut last = None;
    while let Some(account) = accounts::next(db, last).await? {
        checked.accounts += 1;
        for difference in one(db, account, &mut checked).await? {
            if found.send(difference).await.is_err() {
                // Nobody waits for the answer any more.
                return Ok(checked);
            }
        }
        last = Some(account);
    }
    Ok(checked)
}

/// Everything of one account, in one view.
async fn one(
    db: &DatabaseConnection,
    account: Uuid,
    checked: &mut Checked,
) -> Result<Vec<Difference>, Failure> {
    let view = snapshot(db).await?;
    partitions::keep(&view).await?;
    let pruned = Pruned {
        events: marks::reached(&view, marks::EVENTS).await?,
        minutes: marks::reached(&view, marks::MINUTES).await?,
    };
    let account = AccountId::from_uuid(account);
    let mut differences = periods::compare(&view, account, pruned, checked).await?;
    differences.extend(days::compare(&view, account, pruned, checked).await?);
    view.commit().await?;
    Ok(differences)
}

/// Before which moments something may be missing.
#[derive(Clone, Copy)]
struct Pruned {
    events: i64,
    minutes: i64,
}
