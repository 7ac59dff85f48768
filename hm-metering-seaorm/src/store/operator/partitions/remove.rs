//! Removing a part of the ledger as a whole.

use async_trait::async_trait;
use hm_metering::Timestamp;
use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, Statement};

use super::bounds::{self, Partition};
use super::month::least_id;
use super::take_turn;
use crate::error::Failure;
use crate::store::operator::marks;
use crate::store::run::Work;

/// Whether all ids of a part were made before a moment. Those that are made now have their place in another one then.
pub(super) fn is_over(partition: &Partition, before: Timestamp) -> bool {
    partition.ids.to.is_some_and(|end| end <= least_id(before))
}

/// Drops a part if all of its events are older than a moment, and answers whether it did.
pub(super) struct Remove {
    pub(super) partition: Partition,
    pub(super) before: Timestamp,
}

#[async_trait]
impl Work for Remove {
    type Answer = bool;

    fn waits_again(&self) -> bool {
        false
    }

    /// What was recorded while the lock was waited for must be seen.
    fn isolation(&self) -> Option<IsolationLevel> {
        Some(IsolationLevel::ReadCommitted)
    }

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        take_turn(transaction).await?;
        // Another process may have been faster.
        let found = bounds::read(transaction).await?;
        if !found.is_some_and(|found| found.ranges.contains(&self.partition)) {
            return Ok(false);
        }
        // It can't be dropped while it has younger ones, and then nobody should have to wait.
        if self.has_younger(transaction).await? {
            return Ok(false);
        }
        // Before the lock, as whoever removes events one by one does.
        marks::reach(transaction, marks::EVENTS, self.before.as_micros()).await?;
        let lock = "LOCK TABLE ONLY usage_events IN ACCESS EXCLUSIVE MODE";
        transaction.execute_unprepared(lock).await?;
        if self.has_younger(transaction).await? {
            return Ok(false);
        }
        let drop = format!("DROP TABLE {}", self.partition.table);
        transaction.execute_unprepared(&drop).await?;
        Ok(true)
    }
}

impl Remove {
    /// An event's id and its time may be of different months, so the ids alone don't tell.
    async fn has_younger(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let text = format!(
            "SELECT 1 AS one FROM {} WHERE created_at >= $1 LIMIT 1",
            self.partition.table
        );
        let statement = Statement::from_sql_and_values(
            transaction.get_database_backend(),
            text,
            [self.before.as_micros().into()],
        );
        Ok(transaction.query_one_raw(statement).await?.is_some())
    }
}
