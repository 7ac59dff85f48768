//! Rows of `usage_summaries`: what an account used of a meter in a period.

use std::collections::{BTreeMap, HashMap};

use hm_metering::quota::Settlement;
use hm_metering::usage::Event;
use hm_metering::{Timestamp, Units};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DatabaseTransaction, EntityTrait, prelude::Uuid};

use crate::entity::usage_summary::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;
use crate::store::quota::CounterKey;

/// What settlements and the events behind them add to the summaries, in the order in which their rows are locked.
pub(in crate::store) fn of(settlements: &[Settlement], events: &[Event], now: Timestamp) -> Vec<Model> {
    let mut sums: BTreeMap<CounterKey, Model> = BTreeMap::new();
    for settlement in settlements {
        let sum = sums
            .entry(CounterKey::of(&settlement.key))
            .or_insert_with(|| fresh(settlement, now));
        sum.units = Units::from_i64(sum.units).plus(settlement.units).as_i64();
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

/// Adds to what is there. Plan and limit are those of the latest flush.
pub(in crate::store) async fn add(transaction: &DatabaseTransaction, rows: &[Model]) -> Result<(), Failure> {
    let backend = transaction.get_database_backend();
    for chunk in rows.chunks(sql::rows_max(9)) {
        let mut upsert = OnConflict::columns([Column::AccountId, Column::Meter, Column::PeriodStart]);
        upsert.update_columns([Column::Tier, Column::QuotaLimit, Column::UpdatedAt]);
        for column in [Column::Count, Column::Units] {
            upsert.value(column, sql::add_excluded::<Entity>(backend, column));
        }
        Entity::insert_many(sql::to_insert(chunk))
            .on_conflict(upsert)
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}
