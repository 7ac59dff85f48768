//! Making rollups anew from the events.

use async_trait::async_trait;
use hm_metering::usage::Grain;
use hm_metering::{AccountId, StoreErrorKind, StoreResult, Timestamp};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, IsolationLevel,
    QueryFilter,
};

use super::{marks, partitions};
use crate::SeaOrmStore;
use crate::entity::usage_active_day;
use crate::entity::{usage_rollup_endpoint as endpoint, usage_rollup_sum as sum, usage_rollup_unit as unit};
use crate::error::Failure;
use crate::store::run::Work;
use crate::store::usage::rollup::{self, Fact, GRAINS, Rollups};

/// Replaces the sums of one account and one day by those of its events. Counters and events stay as they are. It may run
/// beside servers that record. On PostgreSQL they wait for it where it would otherwise never get through between them.
///
/// # Errors
///
/// [`Invalid`](hm_metering::StoreErrorKind::Invalid) when events of that day may have been pruned: their sums are then all
/// that is left of them.
pub async fn rebuild_rollups(store: &SeaOrmStore, account: AccountId, day: Timestamp) -> StoreResult<()> {
    const CONTEXT: &str = "make rollups anew";
    let work = |alone| Rebuild {
        account: account.as_uuid(),
        day: Grain::Day.start_of(day).as_micros(),
        alone,
    };
    match store.transact_patiently(CONTEXT, work(false)).await {
        // It may have lost every race against servers that record all the time.
        Err(error) if error.kind() == StoreErrorKind::Unavailable => {
            store.transact_patiently(CONTEXT, work(true)).await
        }
        done => done,
    }
}

struct Rebuild {
    account: Uuid,
    day: i64,
    /// Whether others wait with their sums until it is done.
    alone: bool,
}

#[async_trait]
impl Work for Rebuild {
    type Answer = ();

    /// What is recorded in the meantime is either seen wholly, sums and events, or it makes this work begin again.
    fn isolation(&self) -> Option<IsolationLevel> {
        Some(IsolationLevel::RepeatableRead)
    }

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let range = (self.day, self.day + Grain::Day.micros());
        partitions::keep(transaction).await?;
        if self.alone && transaction.get_database_backend() == DbBackend::Postgres {
            // Everybody's sums wait behind this one, so it does not wait for long. Its view begins with the first statement
            // that reads, so nobody can have changed a row since.
            for statement in [
                "SET LOCAL lock_timeout = '3s'",
                "LOCK TABLE usage_rollup_sums IN SHARE ROW EXCLUSIVE MODE",
            ] {
                transaction.execute_unprepared(statement).await?;
            }
        }
        // First of all, before anything is read: on MariaDB and MySQL this holds the range, and what is read after it is
        // what was committed until then.
        delete(transaction, self.account, range).await?;
        if self.day < marks::reached(transaction, marks::EVENTS).await? {
            return Err(Failure::INVALID);
        }
        add_events(transaction, Some(self.account), range).await
    }
}

/// Sums up all events there are.
pub(crate) async fn rebuild_everything(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    // Where a database commits each step of a migration, an earlier attempt may have left something.
    sum::Entity::delete_many().exec(db).await?;
    unit::Entity::delete_many().exec(db).await?;
    endpoint::Entity::delete_many().exec(db).await?;
    usage_active_day::Entity::delete_many().exec(db).await?;
    add_events(db, None, (i64::MIN, i64::MAX))
        .await
        .map_err(|failure| match failure {
            Failure::Database(error) => error,
            other => DbErr::Custom(other.into_error("sum up the events").to_string()),
        })
}

async fn delete(db: &impl ConnectionTrait, account: Uuid, (from, to): (i64, i64)) -> Result<(), DbErr> {
    for grain in GRAINS.map(rollup::number) {
        sum::Entity::delete_many()
            .filter(sum::Column::AccountId.eq(account))
            .filter(sum::Column::Grain.eq(grain))
            .filter(sum::Column::BucketStart.gte(from))
            .filter(sum::Column::BucketStart.lt(to))
            .exec(db)
            .await?;
        unit::Entity::delete_many()
            .filter(unit::Column::AccountId.eq(account))
            .filter(unit::Column::Grain.eq(grain))
            .filter(unit::Column::BucketStart.gte(from))
            .filter(unit::Column::BucketStart.lt(to))
            .exec(db)
            .await?;
        endpoint::Entity::delete_many()
            .filter(endpoint::Column::AccountId.eq(account))
            .filter(endpoint::Column::Grain.eq(grain))
            .filter(endpoint::Column::BucketStart.gte(from))
            .filter(endpoint::Column::BucketStart.lt(to))
            .exec(db)
            .await?;
    }
    usage_active_day::Entity::delete_by_id((from, account))
        .exec(db)
        .await?;
    Ok(())
}

/// A page of events at a time, so that memory is bounded.
async fn add_events(
    db: &impl ConnectionTrait,
    account: Option<Uuid>,
    range: (i64, i64),
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let facts = Fact::next(db, account, range, &mut after).await?;
        if facts.is_empty() {
            return Ok(());
        }
        rollup::add(db, &Rollups::of(&facts)?).await?;
    }
}
