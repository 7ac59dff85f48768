//! Counting charged units as used.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use hm_metering::quota::{Holder, Settlement};
use hm_metering::usage::BatchId;
use hm_metering::{Timestamp, Units};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, prelude::Uuid};

use super::counter::{self, CounterKey};
use super::lease;
use crate::entity::quota_lease;
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;
use crate::store::usage::{batch, summary};

pub(super) struct Settle {
    pub(super) holder: Holder,
    pub(super) batch: BatchId,
    pub(super) settlements: Vec<Settlement>,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for Settle {
    type Answer = ();

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        if batch::begin_settlement(transaction, self.batch, self.now).await? {
            apply(transaction, self.holder, &self.settlements, self.now).await?;
            summary::add(transaction, &summary::of(&self.settlements, &[], self.now)).await?;
        }
        Ok(())
    }
}

/// Applies settlements. The caller sees to it that each batch comes here once.
pub(in crate::store) async fn apply(
    transaction: &DatabaseTransaction,
    holder: Holder,
    settlements: &[Settlement],
    now: Timestamp,
) -> Result<(), Failure> {
    if settlements.is_empty() {
        return Ok(());
    }
    let fresh = settlements.iter().map(|settlement| {
        let row = counter::fresh(&settlement.key, Some(&settlement.plan), settlement.limit, now);
        (CounterKey::of(&settlement.key), row)
    });
    let mut counters = counter::lock(transaction, fresh.collect()).await?;
    let mut leases = open_leases(transaction, holder, settlements).await?;
    for settlement in settlements {
        let key = CounterKey::of(&settlement.key);
        let counter = counters.get_mut(&key).ok_or(Failure::CORRUPT)?;
        let used = Units::from_i64(counter.used).plus(settlement.units);
        counter.used = used.as_i64();
        // Periods of two rules may begin at the same moment, and are one counter then.
        counter.period_end = counter.period_end.max(settlement.key.period.end.as_micros());
        counter.quota = settlement.limit.map(Units::as_i64);
        counter.tier = settlement.plan.as_str().to_owned();
        counter.updated_at = now.as_micros();
        let held = settlement
            .lease
            .and_then(|token| leases.get_mut(&(key, token.0.cast_signed())));
        if let Some(held) = held {
            let taken = lease::outstanding(held).min(settlement.units.as_i64());
            held.settled += taken;
            held.updated_at = now.as_micros();
            counter.leased = (counter.leased - taken).max(0);
        }
    }
    counter::save(transaction, counters.into_values()).await?;
    lease::save(transaction, leases.into_values()).await
}

/// The holder's open leases that the settlements name, by counter and token. Their counters are locked.
async fn open_leases(
    transaction: &DatabaseTransaction,
    holder: Holder,
    settlements: &[Settlement],
) -> Result<BTreeMap<(CounterKey, i64), quota_lease::Model>, Failure> {
    let named: BTreeSet<(CounterKey, i64)> = settlements
        .iter()
        .filter_map(|settlement| {
            let token = settlement.lease?.0.cast_signed();
            Some((CounterKey::of(&settlement.key), token))
        })
        .collect();
    let mut accounts: Vec<Uuid> = named.iter().map(|(key, _)| key.account).collect();
    accounts.dedup();
    let mut leases = BTreeMap::new();
    for accounts in accounts.chunks(sql::rows_max(1) - 2) {
        let rows = quota_lease::Entity::find()
            .filter(quota_lease::Column::AccountId.is_in(accounts.iter().copied()))
            .filter(quota_lease::Column::Replica.eq(holder.replica.as_uuid()))
            .filter(quota_lease::Column::Epoch.eq(holder.epoch.cast_signed()))
            .filter(quota_lease::Column::State.eq(lease::OPEN))
            .all(transaction)
            .await?;
        for row in rows {
            let key = CounterKey {
                account: row.account_id,
                meter: row.meter.clone(),
                period_start: row.period_start,
            };
            let key = (key, row.token);
            if named.contains(&key) {
                leases.insert(key, row);
            }
        }
    }
    Ok(leases)
}
