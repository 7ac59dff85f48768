//! Counters = ledger = rollups: whether what is written down several times agrees.

mod active;
mod counts;
mod days;
mod periods;
mod times;

use hm_metering::period::Period;
use hm_metering::usage::Grain;
use hm_metering::{AccountId, StoreResult, Timestamp};
use sea_orm::prelude::Uuid;
use sea_orm::{DatabaseConnection, QueryResult};
use tokio::sync::mpsc;

use super::compare::{Counted, Difference, Witness};
use super::{accounts, marks, partitions};
use crate::SeaOrmStore;
use crate::error::Failure;
use crate::store::run::owned;
use crate::store::usage::question::snapshot;

/// How many differences may wait to be looked at.
const WAITING: usize = 64;
const DAY: i64 = Grain::Day.micros();

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Accounts with anything in the ledger.
    pub accounts: u64,
    /// Quota counters.
    pub counters: u64,
    /// Pairs of a day and a meter, or of a day and the events themselves.
    pub days: u64,
    /// Counters that nothing could be compared with, because events and sums by minute of their time were pruned.
    pub unchecked: u64,
    /// Numbers that differ.
    pub differences: u64,
}

/// Compares quota counters with the events and rollups of their periods, leases with what counters say is leased, summaries
/// with counters and with the number of charged events, and rollups with events day by day: events, those refused and failed, units of each meter, response times,
/// and which days an account was active on. `found` is told each difference as soon as it is seen.
///
/// Each account is looked at in one view of the database, so servers may go on working. Each event is read a few
/// times; memory grows with the days and periods of one account, not with events or accounts. Events before the moment up to
/// which they were pruned are not missed: there, counters and finer rollups are compared with rollups by day alone.
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
    let mut after = None;
    loop {
        let days = active::without_events(db, &mut after).await?;
        if days.is_empty() {
            return Ok(checked);
        }
        for difference in days {
            if found.send(difference).await.is_err() {
                return Ok(checked);
            }
        }
    }
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
    differences.extend(counts::compare(&view, account, pruned).await?);
    let days = days::gather(&view, account, pruned).await?;
    differences.extend(days::compare(&days, account, pruned, checked));
    differences.extend(times::compare(&view, account, pruned).await?);
    differences.extend(active::missing(&view, account, &days, pruned).await?);
    view.commit().await?;
    Ok(differences)
}

/// Before which moments something may be missing.
#[derive(Clone, Copy)]
struct Pruned {
    events: i64,
    minutes: i64,
}

/// A difference on a day, without its numbers.
fn on_day(account: AccountId, day: i64, what: Counted, witness: Witness) -> Difference {
    Difference {
        account,
        what,
        period: Period {
            start: Timestamp::from_micros(day),
            end: Timestamp::from_micros(day + DAY),
        },
        witness,
        counter: None,
        events: None,
        rollups: None,
    }
}

/// The day that a column's moment lies in.
fn day_of(column: &str) -> String {
    format!("{column} - (({column} % {DAY}) + {DAY}) % {DAY}")
}

/// The place of a row's grain among all grains.
fn grain(row: &QueryResult) -> Result<usize, Failure> {
    let number: i16 = row.try_get("", "grain")?;
    usize::try_from(number)
        .ok()
        .filter(|grain| *grain < 3)
        .ok_or(Failure::CORRUPT)
}
