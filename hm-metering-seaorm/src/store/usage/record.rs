//! Recording a batch, as one transaction.

use async_trait::async_trait;
use hm_metering::keys::KeyUse;
use hm_metering::quota::Settlement;
use hm_metering::usage::{Batch, BatchId, Event, Recorded};
use hm_metering::{AccountId, Timestamp};
use sea_orm::DatabaseTransaction;

use super::batch::{self, Start};
use super::rollup::{self, Fact, Rollups};
use super::{digest, event, insert, summary};
use crate::entity::{usage_event, usage_summary};
use crate::error::Failure;
use crate::store::keys::uses::KeyUses;
use crate::store::quota::settle;
use crate::store::run::Work;

/// One flush. Everything is worked out beforehand; the transaction only writes.
pub(super) struct Record {
    id: BatchId,
    created_at: Timestamp,
    digest: Vec<u8>,
    events: Vec<usage_event::Model>,
    rollups: Rollups,
    settlements: Vec<Settlement>,
    summaries: Vec<usage_summary::Model>,
    uses: KeyUses,
}

impl Record {
    pub(super) fn new(batch: &Batch) -> Result<Self, Failure> {
        let events: Vec<_> = batch.events.iter().map(event::to_row).collect();
        let facts: Vec<_> = events.iter().map(Fact::of).collect::<Result<_, _>>()?;
        Ok(Self {
            id: batch.id,
            created_at: batch.created_at,
            digest: digest::of(&batch.events),
            rollups: Rollups::of(&facts)?,
            events,
            settlements: batch.settlements.clone(),
            summaries: summary::of(&batch.settlements, &batch.events, batch.created_at),
            uses: KeyUses::new(batch.events.iter().filter_map(key_use)),
        })
    }
}

#[async_trait]
impl Work for Record {
    type Answer = Recorded;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Recorded, Failure> {
        let (id, now) = (self.id, self.created_at);
        match batch::begin_record(transaction, id, now, self.events.len(), &self.digest).await? {
            Start::Repeated => Ok(Recorded::Repeated),
            Start::New { settle } => {
                insert::insert(transaction, &self.events).await?;
                if settle {
                    settle::apply(transaction, id.holder(), &self.settlements, now).await?;
                    summary::add(transaction, &self.summaries).await?;
                }
                rollup::add(transaction, &self.rollups).await?;
                self.uses.run(transaction).await?;
                Ok(Recorded::New)
            }
        }
    }
}

fn key_use(event: &Event) -> Option<(Option<AccountId>, KeyUse)> {
    let key = event.key.filter(|_| event.outcome.reached_handler())?;
    let used = KeyUse {
        key,
        count: 1,
        last_used_at: event.at,
    };
    Some((Some(event.account), used))
}
