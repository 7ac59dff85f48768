//! Rows of `usage_summaries`: what an account used of a meter in a period. Once a row is closed it stays as it is, and what
//! comes for its period becomes a row of `usage_corrections`.

use std::collections::{BTreeMap, HashMap, HashSet};

use hm_metering::quota::Settlement;
use hm_metering::usage::Event;
use hm_metering::{Timestamp, Units};
use sea_orm::sea_query::{CaseStatement, Condition, Expr, ExprTrait, OnConflict, SimpleExpr};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, prelude::Uuid};

use crate::entity::usage_correction;
use crate::entity::usage_summary::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;
use crate::store::quota::CounterKey;

/// The kinds of corrections: what was recorded late, and what somebody decided.
const LATE: &str = "late";
pub(in crate::store) const MANUAL: &str = "manual";
/// How many rows are asked for by their whole keys in one statement.
const KEYS: usize = 200;

/// What settlements and the events behind them add to the summaries, in the order in which their rows are locked. Summaries are
/// those of accounts: what counts against the quota of a key as well is in them once.
pub(in crate::store) fn of(settlements: &[Settlement], events: &[Event], now: Timestamp) -> Vec<Model> {
    let mut sums: BTreeMap<CounterKey, Model> = BTreeMap::new();
    for settlement in settlements
        .iter()
        .filter(|settlement| settlement.key.key.is_none())
    {
        let sum = sums
            .entry(CounterKey::of(&settlement.key))
            .or_insert_with(|| fresh(settlement, now));
        sum.units = Units::from_i64(sum.units).plus(settlement.units).as_i64();
        sum.period_end = Ord::max(sum.period_end, settlement.key.period.end.as_micros());
        sum.tier = settlement.plan.as_str().to_owned();
        sum.quota_limit = settlement.limit.map(Units::as_i64);
    }
    count(&mut sums, events);
    sums.into_values().collect()
}

fn fresh(settlement: &Settlement, now: Timestamp) -> Model {
    Model {
        account_id: settlement.key.account.as_uuid(),
        meter: settlement.key.meter.as_str().to_owned(),
        period_start: settlement.key.period.start.as_micros(),
        period_end: settlement.key.period.end.as_micros(),
        tier: String::new(),
        count: 0,
        units: 0,
        quota_limit: None,
        updated_at: now.as_micros(),
        closed_at: None,
    }
}

/// Counts each charged event in the period that it lies in, or, if it came just before the edge and was charged after
/// it, in the first that was charged.
fn count(sums: &mut BTreeMap<CounterKey, Model>, events: &[Event]) {
    let mut periods: HashMap<(Uuid, String), Vec<CounterKey>> = HashMap::new();
    for key in sums.keys() {
        periods
            .entry((key.account, key.meter.clone()))
            .or_default()
            .push(key.clone());
    }
    for event in events {
        for (meter, _) in event.units.iter().filter(|(_, units)| !units.is_zero()) {
            let Some(keys) = periods.get(&(event.account.as_uuid(), meter.as_str().to_owned())) else {
                continue;
            };
            let at = event.at.as_micros();
            let lies_in = |key: &&CounterKey| {
                key.period_start <= at && sums.get(*key).is_some_and(|sum| at < sum.period_end)
            };
            let chosen = keys.iter().find(lies_in).or(keys.first()).cloned();
            if let Some(sum) = chosen.and_then(|key| sums.get_mut(&key)) {
                sum.count += 1;
            }
        }
    }
}

/// Adds to what is there. Plan and limit are those of the latest flush. Where periods of two rules began at the same moment,
/// the last of their ends counts.
pub(in crate::store) async fn add(transaction: &DatabaseTransaction, rows: &[Model]) -> Result<(), Failure> {
    let backend = transaction.get_database_backend();
    for chunk in rows.chunks(sql::rows_max(10)) {
        let mut upsert = OnConflict::columns([Column::AccountId, Column::Meter, Column::PeriodStart]);
        for column in [Column::Tier, Column::QuotaLimit, Column::UpdatedAt] {
            let new = sql::excluded(backend, column);
            upsert.value(column, unless_closed(column, new));
        }
        let later = sql::max_excluded::<Entity>(backend, Column::PeriodEnd);
        upsert.value(Column::PeriodEnd, unless_closed(Column::PeriodEnd, later));
        for column in [Column::Count, Column::Units] {
            let new = sql::add_excluded::<Entity>(backend, column);
            upsert.value(column, unless_closed(column, new));
        }
        let upsert = Entity::insert_many(sql::to_insert(chunk)).on_conflict(upsert);
        let there = if transaction.support_returning() {
            upsert.exec_with_returning(transaction).await?
        } else {
            upsert.exec_without_returning(transaction).await?;
            closed(transaction, chunk).await?
        };
        add_corrections(transaction, chunk, &there).await?;
    }
    Ok(())
}

/// In an upsert: the new value, or, where the row is closed, what is there.
fn unless_closed(column: Column, new: SimpleExpr) -> SimpleExpr {
    let own = |column: Column| Expr::col((Entity, column));
    CaseStatement::new()
        .case(own(Column::ClosedAt).is_null(), new)
        .finally(own(column))
        .into()
}

/// Those of the rows that are closed, as they are. The transaction holds them.
async fn closed(transaction: &DatabaseTransaction, rows: &[Model]) -> Result<Vec<Model>, Failure> {
    let mut closed = Vec::new();
    for chunk in rows.chunks(KEYS) {
        let mut keys = Condition::any();
        for row in chunk {
            keys = keys.add(
                Condition::all()
                    .add(Column::AccountId.eq(row.account_id))
                    .add(Column::Meter.eq(row.meter.as_str()))
                    .add(Column::PeriodStart.eq(row.period_start)),
            );
        }
        let some = Entity::find()
            .filter(keys)
            .filter(Column::ClosedAt.is_not_null())
            .all(transaction)
            .await?;
        closed.extend(some);
    }
    Ok(closed)
}

/// What came for rows that are closed, by the rows as they are `there`. A period that isn't over yet by the time of the
/// batch may be closed: clocks differ.
async fn add_corrections(
    transaction: &DatabaseTransaction,
    rows: &[Model],
    there: &[Model],
) -> Result<(), Failure> {
    let closed: HashSet<_> = there
        .iter()
        .filter(|row| row.closed_at.is_some())
        .map(key)
        .collect();
    let late: Vec<usage_correction::Model> = rows
        .iter()
        .filter(|row| (row.units != 0 || row.count != 0) && closed.contains(&key(row)))
        .map(correction)
        .collect();
    for chunk in late.chunks(sql::rows_max(9)) {
        usage_correction::Entity::insert_many(sql::to_insert(chunk))
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}

fn key(row: &Model) -> (Uuid, &str, i64) {
    (row.account_id, &row.meter, row.period_start)
}

fn correction(row: &Model) -> usage_correction::Model {
    usage_correction::Model {
        id: Uuid::new_v4(),
        account_id: row.account_id,
        meter: row.meter.clone(),
        period_start: row.period_start,
        kind: LATE.to_owned(),
        count: row.count,
        units: row.units,
        reason: "recorded after the period was closed".to_owned(),
        created_at: row.updated_at,
    }
}
