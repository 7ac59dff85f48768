//! Leases of replicas that don't come back.

use hm_metering::{ReplicaId, StoreError, StoreErrorKind, StoreResult, Timestamp, Units};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::SeaOrmStore;
use crate::entity::{quota_lease, usage_batch};
use crate::error::Failure;
use crate::sql;
use crate::store::quota::close::{Runs, close};
use crate::store::quota::lease::OPEN;

/// How many replicas are listed at most.
const HOLDERS: u64 = 1_000;

/// A replica that holds leases, over all of its runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Which one.
    pub replica: ReplicaId,
    /// How many leases it holds.
    pub leases: u64,
    /// How many of their units are neither settled nor given back.
    pub units: Units,
    /// When it last leased, gave back or recorded something, by its own clock.
    pub seen_at: Timestamp,
}

/// What a replica has forfeited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forfeited {
    /// How many leases were closed.
    pub leases: u64,
    /// How many units can be leased by others again.
    pub units: Units,
}

/// The replicas that hold leases and were not seen from `since` on, those that have been away for longest first. At most a
/// thousand. Dropping the future ends the question.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn lost_holders(store: &SeaOrmStore, since: Timestamp) -> StoreResult<Vec<LeaseHolder>> {
    store
        .read("list replicas that hold leases", since, |db, since| async move {
            let mut holders = held(&db, None, Some(since)).await?;
            holders.retain(|holder| holder.seen_at < since);
            holders.sort_unstable_by_key(|holder| holder.seen_at);
            Ok(holders)
        })
        .await
}

/// What a replica holds; none when it holds nothing. Dropping the future ends the question.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn lease_holder(store: &SeaOrmStore, replica: ReplicaId) -> StoreResult<Option<LeaseHolder>> {
    store
        .read("look for a replica's leases", replica, |db, replica| async move {
            Ok(held(&db, Some(replica), None).await?.pop())
        })
        .await
}

/// Closes all leases of a replica that is lost together with its journal, so that others can lease what it had not settled.
///
/// Whatever the replica had spent and not recorded is then free to be spent again: limits of accounts that it served can be
/// exceeded by as much, and are, if it still runs. If its journal is found after all, what is in it is counted in full.
/// Repeating it changes nothing. What was closed stays closed when the rest fails, and when the future is dropped the rest
/// is closed all the same.
///
/// # Errors
///
/// [`Conflict`](StoreErrorKind::Conflict) when the replica was seen from `since` on: it may still run. Also when the database
/// doesn't answer.
pub async fn forfeit(
    store: &SeaOrmStore,
    replica: ReplicaId,
    since: Timestamp,
    now: Timestamp,
) -> StoreResult<Forfeited> {
    const CONTEXT: &str = "close a lost replica's leases";
    let holder = lease_holder(store, replica).await?;
    if holder.is_some_and(|holder| holder.seen_at >= since) {
        return Err(StoreError::new(StoreErrorKind::Conflict, CONTEXT));
    }
    let closed = close(store, CONTEXT, None, Runs::All(replica), now).await?;
    Ok(Forfeited {
        leases: closed.leases,
        units: closed.units,
    })
}

/// Those who hold leases: this replica, or all whose leases did not change from `since` on.
async fn held(
    db: &impl ConnectionTrait,
    replica: Option<ReplicaId>,
    since: Option<Timestamp>,
) -> Result<Vec<LeaseHolder>, Failure> {
    use quota_lease::Column;
    let units = sql::capped_sum(db.get_database_backend(), "granted - settled");
    let mut holders = quota_lease::Entity::find()
        .select_only()
        .column(Column::Replica)
        .column_as(Column::Token.count(), "leases")
        .column_as(Expr::cust(units), "units")
        .column_as(Column::UpdatedAt.max(), "changed_at")
        .filter(Column::State.eq(OPEN))
        .group_by(Column::Replica)
        .order_by_asc(Column::UpdatedAt.max())
        .limit(HOLDERS);
    if let Some(replica) = replica {
        holders = holders.filter(Column::Replica.eq(replica.as_uuid()));
    }
    if let Some(since) = since {
        holders = holders.having(Column::UpdatedAt.max().lt(since.as_micros()));
    }
    let rows: Vec<(Uuid, i64, i64, i64)> = holders.into_tuple().all(db).await?;
    let mut holders = Vec::with_capacity(rows.len());
    for (replica, leases, units, changed_at) in rows {
        let recorded_at = last_batch(db, replica).await?.unwrap_or(changed_at);
        holders.push(LeaseHolder {
            replica: ReplicaId::from_uuid(replica),
            leases: u64::try_from(leases).unwrap_or_default(),
            units: Units::from_i64(units),
            seen_at: Timestamp::from_micros(std::cmp::max(changed_at, recorded_at)),
        });
    }
    Ok(holders)
}

/// When a replica made the last batch that it recorded.
async fn last_batch(db: &impl ConnectionTrait, replica: Uuid) -> Result<Option<i64>, Failure> {
    let last = usage_batch::Entity::find()
        .select_only()
        .column(usage_batch::Column::CreatedAt)
        .filter(usage_batch::Column::Replica.eq(replica))
        .order_by_desc(usage_batch::Column::Epoch)
        .order_by_desc(usage_batch::Column::Number)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    Ok(last)
}
