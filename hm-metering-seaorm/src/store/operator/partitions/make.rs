//! Making a month's part of the ledger.

use std::time::Duration;

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, Statement};

use super::bounds;
use super::month::Month;
use super::rights::rights_like;
use super::{leave_to_migration, take_turn};
use crate::error::Failure;
use crate::store::run::Work;

/// What making a part may cost. Those who write wait meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// How many events that came before their month's part was there may be moved into it; none is no bound.
    pub(super) moved_max: Option<u32>,
    /// How large the part for all others may be, in bytes, since all of it is read; none is no bound.
    pub(super) read_max: Option<i64>,
    /// How long each statement may take, however the database is doing.
    pub(super) statement_timeout: Duration,
}

impl Cost {
    /// About a second for so many events, and another one for so many bytes.
    pub(super) const SMALL: Self = Self {
        moved_max: Some(100_000),
        read_max: Some(1 << 30),
        statement_timeout: Duration::from_secs(5),
    };
    /// As much as it takes, as an operator wants it.
    pub(super) const ANY: Self = Self {
        moved_max: None,
        read_max: None,
        statement_timeout: Duration::from_secs(1_800),
    };
}

/// What an operator can do about a month that was not made.
const REMEDY: &str = "make it in a quiet hour with `hm-server migrate months`, or `operator::make_months`; until then \
                      events go where they went before";

/// Makes the part for a month, unless the month's ids have their place already, and answers whether it did.
pub(super) struct Make {
    pub(super) month: Month,
    pub(super) cost: Cost,
}

#[async_trait]
impl Work for Make {
    type Answer = bool;

    fn waits_again(&self) -> bool {
        false
    }

    fn longest_statement(&self) -> Option<Duration> {
        Some(self.cost.statement_timeout)
    }

    /// What was done by those who had their turn before must be seen.
    fn isolation(&self) -> Option<IsolationLevel> {
        Some(IsolationLevel::ReadCommitted)
    }

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        if self.default(transaction).await?.is_none() {
            return Ok(false);
        }
        leave_to_migration(transaction).await?;
        take_turn(transaction).await?;
        let millis = self.cost.statement_timeout.as_millis();
        let timeout = format!("SET LOCAL statement_timeout = {millis}");
        transaction.execute_unprepared(&timeout).await?;
        // Another replica may have been faster.
        let Some(default) = self.default(transaction).await? else {
            return Ok(false);
        };
        if self.has_too_many(transaction, &default).await? {
            tracing::warn!(
                partition = self.month.table(),
                remedy = REMEDY,
                "a partition is not made: too many events of its month are in {default} already"
            );
            return Ok(false);
        }
        if self.is_large(transaction, &default).await? {
            tracing::warn!(
                partition = self.month.table(),
                remedy = REMEDY,
                "a partition is not made: {default} is so large that writers would wait for long while it is read"
            );
            return Ok(false);
        }
        for statement in self.statements(&default) {
            transaction.execute_unprepared(&statement).await?;
        }
        Ok(true)
    }
}

impl Make {
    /// Where events of the month go that has no part of its own. None when it has one, or the ledger has no parts.
    async fn default(&self, transaction: &DatabaseTransaction) -> Result<Option<String>, Failure> {
        let found = bounds::read(transaction).await?;
        let lacks = |found: &bounds::Partitions| {
            let mut ranges = found.ranges.iter();
            !ranges.any(|range| range.ids.overlap(self.month.ids()))
        };
        Ok(found.filter(lacks).map(|found| found.default))
    }

    async fn has_too_many(&self, transaction: &DatabaseTransaction, default: &str) -> Result<bool, Failure> {
        let Some(most) = self.cost.moved_max else {
            return Ok(false);
        };
        let range = self.range();
        let text = format!("SELECT 1 AS one FROM {default} WHERE {range} OFFSET {most} LIMIT 1");
        let statement = Statement::from_string(transaction.get_database_backend(), text);
        Ok(transaction.query_one_raw(statement).await?.is_some())
    }

    async fn is_large(&self, transaction: &DatabaseTransaction, default: &str) -> Result<bool, Failure> {
        let Some(most) = self.cost.read_max else {
            return Ok(false);
        };
        let text = format!("SELECT pg_relation_size('{default}') AS bytes");
        let statement = Statement::from_string(transaction.get_database_backend(), text);
        let row = transaction
            .query_one_raw(statement)
            .await?
            .ok_or(Failure::CORRUPT)?;
        Ok(row.try_get::<i64>("", "bytes")? > most)
    }

    fn range(&self) -> String {
        let (from, to) = (self.month.first_id(), self.month.next().first_id());
        format!("id >= '{from}' AND id < '{to}'")
    }

    fn statements(&self, default: &str) -> [String; 6] {
        let (from, to) = (self.month.first_id(), self.month.next().first_id());
        let (table, range) = (self.month.table(), self.range());
        [
            // A statement that inserts chooses a part and then waits for its lock. So those who write are stopped ahead of
            // the choice, or they would put events of the month where they may not be any more. Readers go on.
            "LOCK TABLE ONLY usage_events IN SHARE ROW EXCLUSIVE MODE".to_owned(),
            format!("LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE"),
            format!("CREATE TABLE {table} (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
            rights_like(&table, "usage_events"),
            format!(
                "WITH moved AS (DELETE FROM {default} WHERE {range} RETURNING *) \
                 INSERT INTO {table} SELECT * FROM moved"
            ),
            // Makes the indexes as well.
            format!(
                "ALTER TABLE usage_events ATTACH PARTITION {table} FOR VALUES FROM ('{from}') TO ('{to}')"
            ),
        ]
    }
}
