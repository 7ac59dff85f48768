//! Closing what earlier runs of a replica left behind.

use async_trait::async_trait;
use hm_metering::quota::Holder;
use hm_metering::{Timestamp, Units};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use super::counter::{self, CounterKey};
use super::lease;
use crate::entity::quota_counter;
use crate::entity::quota_lease::{Column, Entity, Model};
use crate::error::Failure;
use crate::store::run::Work;

pub(super) struct CloseEarlier {
    pub(super) holder: Holder,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for CloseEarlier {
    type Answer = Units;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Units, Failure> {
        let now = self.now.as_micros();
        let fresh = self
            .open_leases(transaction)
            .await?
            .iter()
            .map(fresh_counter)
            .collect();
        let mut counters = counter::lock(transaction, fresh).await?;
        // Read again now that their counters are held: a lease may have been settled in between.
        let mut leases = self.open_leases(transaction).await?;
        leases.retain(|held| counters.contains_key(&counter_key(held)));
        let mut given_back = Units::ZERO;
        for held in &mut leases {
            let rest = lease::outstanding(held);
            if let Some(counter) = counters.get_mut(&counter_key(held)) {
                counter.leased = (counter.leased - rest).max(0);
                counter.updated_at = now;
            }
            held.settled += rest;
            held.state = lease::CLOSED.to_owned();
            held.updated_at = now;
            given_back = given_back.plus(Units::from_i64(rest));
        }
        counter::save(transaction, counters.into_values()).await?;
        lease::save(transaction, leases).await?;
        Ok(given_back)
    }
}

impl CloseEarlier {
    async fn open_leases(&self, transaction: &DatabaseTransaction) -> Result<Vec<Model>, Failure> {
        Ok(Entity::find()
            .filter(Column::Replica.eq(self.holder.replica.as_uuid()))
            .filter(Column::Epoch.ne(self.holder.epoch.cast_signed()))
            .filter(Column::State.eq(lease::OPEN))
            .all(transaction)
            .await?)
    }
}

fn counter_key(held: &Model) -> CounterKey {
    CounterKey {
        account: held.account_id,
        meter: held.meter.clone(),
        period_start: held.period_start,
    }
}

/// The counter of a lease is always there; its row is only needed to lock it.
fn fresh_counter(held: &Model) -> (CounterKey, quota_counter::Model) {
    let row = quota_counter::Model {
        account_id: held.account_id,
        meter: held.meter.clone(),
        period_start: held.period_start,
        period_end: held.period_start,
        used: 0,
        leased: 0,
        token: held.token,
        quota: None,
        tier: String::new(),
        updated_at: held.updated_at,
    };
    (counter_key(held), row)
}
