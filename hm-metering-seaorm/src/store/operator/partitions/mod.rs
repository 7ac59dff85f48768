//! The ledger's parts on PostgreSQL, one for each month: made ahead, and removed as a whole.
//!
//! Events are divided by their ids. An id of version 7 begins with the time it was made, so a range of ids is a range of time,
//! and the id alone stays the primary key: the database refuses a second event of an id wherever the first one is. Ids of other
//! kinds, and of months that nobody made a part for, go to a part of their own, so nothing is ever refused for want of one.
//!
//! On the other databases the ledger is one table, and nothing here changes it.

mod bounds;
mod make;
mod month;
mod remove;
mod rights;
#[cfg(all(test, feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod tests;

use hm_metering::{StoreError, StoreErrorKind, StoreResult, Timestamp, UsageStore};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement};

use self::make::{Cost, Make};
pub(crate) use self::month::Month;
use self::remove::Remove;
pub(crate) use self::rights::rights_like;
use crate::SeaOrmStore;
use crate::error::{self, Failure};
use crate::migration::STEPS_LOCK;
use crate::store::run::{Work, pause};

/// How many months ahead have a part, beside the present one.
const AHEAD: u32 = 2;

/// How often a lock is tried to be had, and how long each time. Whoever comes later and writes waits behind, so it is short,
/// and between two attempts there is room for them. It is longer than the second after which PostgreSQL's own cleaning makes
/// way.
const ATTEMPTS: u32 = 5;
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1500ms'";

/// How many months ahead may be asked for.
const AHEAD_MAX: u32 = 120;

/// Makes the parts of the ledger for the month that `now` lies in and for the two after it, where they are missing, and answers
/// how many it made. It is meant to be called at start and then daily: a month has its part long before its first event. Events
/// that came earlier are moved into it, up to 100,000; when there are more, they stay in the part for all others. No month is
/// made while that part takes more than a gigabyte, since PostgreSQL reads all of it each time. The log says so, and what can be
/// done about it: [`make_months`].
///
/// It may run on several servers at once, beside those that record, and be repeated. Events wait to be written while a part is
/// made: for milliseconds, and for a second or two when many are to be moved or much is to be read. Dropping the future leaves the part that is being
/// made to be finished in the background.
///
/// It does nothing on other databases than PostgreSQL.
///
/// # Errors
///
/// When the database doesn't answer, refuses to make a table, or others hold the ledger for some seconds.
/// [`Unavailable`](StoreErrorKind::Unavailable) too while somebody changes the schema.
pub async fn make_partitions(store: &SeaOrmStore, now: Timestamp) -> StoreResult<usize> {
    make(store, now, AHEAD, Cost::SMALL).await
}

/// As [`make_partitions`], for `ahead` months after the present one, at most 120, and whatever it costs: all events of a month
/// are moved into its part, and the part for all others is read however large it is. It is for operators, in a quiet hour. Events
/// wait to be written meanwhile, about a second for each gigabyte and month and for each 100,000 events, at most half an hour for
/// each month.
///
/// # Errors
///
/// As [`make_partitions`].
pub async fn make_months(store: &SeaOrmStore, now: Timestamp, ahead: u32) -> StoreResult<usize> {
    make(store, now, ahead.min(AHEAD_MAX), Cost::ANY).await
}

async fn make(store: &SeaOrmStore, now: Timestamp, ahead: u32, cost: Cost) -> StoreResult<usize> {
    if !is_divided(store) {
        return Ok(0);
    }
    let mut made = 0;
    let mut month = Month::of(now);
    for _ in 0..=ahead {
        if patiently(store, "make a partition", || Make { month, cost }).await? {
            tracing::info!(partition = month.table(), "made a partition");
            made += 1;
        }
        month = month.next();
    }
    Ok(made)
}

/// What [`prune_events`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedEvents {
    /// Parts of the ledger that were dropped as a whole, with all of their events.
    pub partitions: u64,
    /// Events that were removed one by one.
    pub events: u64,
}

/// Removes all events older than `before`, of all accounts. On PostgreSQL parts of the ledger whose every event is older are
/// dropped as a whole; the rest is removed by [`UsageStore::prune`], `at_once` in a transaction. Sums, counters, summaries and
/// batch ids stay.
///
/// A part that others hold for some seconds, such as a backup, is emptied step by step and dropped another time. Dropping the
/// future ends it after a step; the call can be repeated.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn prune_events(
    store: &SeaOrmStore,
    before: Timestamp,
    at_once: usize,
) -> StoreResult<PrunedEvents> {
    let mut pruned = PrunedEvents::default();
    if is_divided(store) {
        pruned.partitions = remove_partitions(store, before).await?;
    }
    loop {
        match store.prune(before, at_once.max(1)).await? {
            0 => return Ok(pruned),
            some => pruned.events += some,
        }
    }
}

async fn remove_partitions(store: &SeaOrmStore, before: Timestamp) -> StoreResult<u64> {
    let found = store
        .read("look for partitions", (), |db, ()| async move {
            bounds::read(&db).await
        })
        .await?;
    let mut removed = 0;
    for partition in found.into_iter().flat_map(|found| found.ranges) {
        if !remove::is_over(&partition, before) {
            continue;
        }
        let work = || Remove {
            partition: partition.clone(),
            before,
        };
        match patiently(store, "drop a partition", work).await {
            Ok(true) => {
                tracing::info!(partition = partition.table, "dropped a partition");
                removed += 1;
            }
            Ok(false) => {}
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {
                tracing::warn!(
                    partition = partition.table,
                    error = &error as &dyn std::error::Error,
                    "a partition can't be dropped now; its events are removed one by one"
                );
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn is_divided(store: &SeaOrmStore) -> bool {
    store.0.writer.get_database_backend() == DbBackend::Postgres
}

/// Does work again that could not have its locks.
async fn patiently<W: Work>(
    store: &SeaOrmStore,
    context: &'static str,
    work: impl Fn() -> W,
) -> StoreResult<W::Answer> {
    let mut attempt = 1;
    loop {
        match store.transact_patiently(context, work()).await {
            Err(error) if waited_in_vain(&error) && attempt < ATTEMPTS => {
                // From a tenth of a second on.
                tokio::time::sleep(pause(attempt + 5)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn waited_in_vain(error: &StoreError) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    source.is_some_and(error::waited_in_vain)
}

/// Breaks off while somebody changes the schema, and keeps others from doing so until the transaction ends.
async fn leave_to_migration(transaction: &DatabaseTransaction) -> Result<(), Failure> {
    let turn = format!("SELECT pg_try_advisory_xact_lock_shared({STEPS_LOCK}) AS is_ours");
    let turn = Statement::from_string(DbBackend::Postgres, turn);
    let row = transaction.query_one_raw(turn).await?.ok_or(Failure::CORRUPT)?;
    if row.try_get::<bool>("", "is_ours")? {
        return Ok(());
    }
    tracing::info!("no partition is made now: the schema is being changed");
    Err(Failure::Refused(StoreErrorKind::Unavailable))
}

/// Makes this transaction the only one that changes which parts there are, and one that doesn't wait for long.
async fn take_turn(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    transaction.execute_unprepared(LOCK_TIMEOUT).await?;
    // Any number will do that nobody else locks: "hm-parts" in ASCII.
    let turn = "SELECT pg_advisory_xact_lock(7524720513100444787)";
    transaction.execute_unprepared(turn).await?;
    Ok(())
}

/// Keeps the parts as they are until the transaction ends. It must come before everything else in a transaction that has one view
/// of the database: events that are deleted stay visible in an earlier view, but parts that are dropped do not.
pub(in crate::store) async fn keep(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        let lock = "LOCK TABLE ONLY usage_events IN ACCESS SHARE MODE";
        transaction.execute_unprepared(lock).await?;
    }
    Ok(())
}
