//! Closing what runs of a replica left behind that are over, some leases at a time: others wait only for the counters of those.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::quota::Holder;
use hm_metering::{ReplicaId, StoreError, StoreErrorKind, StoreResult, Timestamp, Units};
use sea_orm::{ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect, Select};

use super::counter::{self, CounterKey};
use super::lease;
use crate::entity::quota_counter;
use crate::entity::quota_lease::{Column, Entity, Model};
use crate::error::Failure;
use crate::store::SeaOrmStore;
use crate::store::run::{self, Work};

/// How many leases are looked for in one transaction.
const PORTION: u64 = 1_000;

/// Which runs are over.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Runs {
    /// All of the holder's replica but the holder's own.
    But(Holder),
    /// All of the replica.
    All(ReplicaId),
}

/// What was closed.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Closed {
    pub(in crate::store) leases: u64,
    pub(in crate::store) units: Units,
}

/// Closes all open leases of `runs`, in transactions of their own, and answers what was given back. What is closed stays so
/// when the rest fails.
///
/// A caller that goes away, or waits in vain until `deadline`, leaves a task that goes on to the end. The next caller waits
/// for that one, not for rows beside it.
pub(in crate::store) async fn close(
    store: &SeaOrmStore,
    context: &'static str,
    deadline: Option<Duration>,
    runs: Runs,
    now: Timestamp,
) -> StoreResult<Closed> {
    let turn = Arc::clone(&store.0.closing).lock_owned();
    let turn = match deadline {
        Some(deadline) => tokio::time::timeout(deadline, turn)
            .await
            .map_err(|elapsed| StoreError::new(StoreErrorKind::Timeout, context).with_source(elapsed))?,
        None => turn.await,
    };
    let writer = store.0.writer.clone();
    let silence = store.silence(&writer);
    run::owned(context, deadline, async move {
        let _turn = turn;
        let mut closed = Closed::default();
        loop {
            let (some, left) = run::tried(context, &writer, &Portion { runs, now }, silence).await?;
            closed.leases += some.leases;
            closed.units = closed.units.plus(some.units);
            if !left {
                return Ok(closed);
            }
        }
    })
    .await
}

struct Portion {
    runs: Runs,
    now: Timestamp,
}

#[async_trait]
impl Work for Portion {
    /// What was closed, and whether there may be more.
    type Answer = (Closed, bool);

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Self::Answer, Failure> {
        let now = self.now.as_micros();
        let found = self.open_leases().limit(PORTION).all(transaction).await?;
        let left = found.len() as u64 == PORTION;
        let fresh = found.iter().map(fresh_counter).collect();
        let mut counters = counter::lock(transaction, fresh).await?;
        // Read again now that their counters are held: a lease may have been settled in between.
        let mut leases = self.of(transaction, counters.keys()).await?;
        let mut closed = Closed::default();
        for held in &mut leases {
            let rest = lease::outstanding(held);
            if let Some(counter) = counters.get_mut(&counter_key(held)) {
                counter.leased = (counter.leased - rest).max(0);
                counter.updated_at = now;
            }
            held.settled += rest;
            held.state = lease::CLOSED.to_owned();
            held.updated_at = now;
            closed.leases += 1;
            closed.units = closed.units.plus(Units::from_i64(rest));
        }
        counter::save(transaction, counters.into_values()).await?;
        lease::save(transaction, leases).await?;
        Ok((closed, left))
    }
}

impl Portion {
    /// The open leases on these counters.
    async fn of(
        &self,
        transaction: &DatabaseTransaction,
        counters: impl Iterator<Item = &CounterKey>,
    ) -> Result<Vec<Model>, Failure> {
        let keys: Vec<&CounterKey> = counters.collect();
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(counter::WINDOWS) {
            let mut these = Condition::any();
            for key in some {
                these = these.add(
                    Condition::all()
                        .add(Column::AccountId.eq(key.account))
                        .add(Column::Meter.eq(key.meter.as_str()))
                        .add(Column::PeriodStart.eq(key.period_start)),
                );
            }
            found.extend(self.open_leases().filter(these).all(transaction).await?);
        }
        Ok(found)
    }

    fn open_leases(&self) -> Select<Entity> {
        let open = Entity::find().filter(Column::State.eq(lease::OPEN));
        match self.runs {
            Runs::But(holder) => open
                .filter(Column::Replica.eq(holder.replica.as_uuid()))
                .filter(Column::Epoch.ne(holder.epoch.cast_signed())),
            Runs::All(replica) => open.filter(Column::Replica.eq(replica.as_uuid())),
        }
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
