//! Making a month's part of the ledger.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseTransaction, IsolationLevel, Statement};

use super::bounds;
use super::month::Month;
use super::rights::rights_like;
use super::take_turn;
use crate::error::Failure;
use crate::store::run::Work;

/// How many events that came before their month's part was there are moved into it at most. Writers wait meanwhile: about a
/// second.
const MOVED_MAX: u32 = 100_000;

/// How large the part for all others may be, in bytes. All of it is read, about a second for so much, while writers wait.
const DEFAULT_MAX: i64 = 1 << 30;
/// How long each statement may take. Writers don't wait for longer, however the database is doing.
const STATEMENT_TIMEOUT: &str = "SET LOCAL statement_timeout = '5s'";

/// Makes the part for a month, unless the month's ids have their place already, and answers whether it did.
pub(super) struct Make(pub(super) Month);

#[async_trait]
impl Work for Make {
    type Answer = bool;

    fn waits_again(&self) -> bool {
        false
    }

    /// What was done by those who had their turn before must be seen.
    fn isolation(&self) -> Option<IsolationLevel> {
        Some(IsolationLevel::ReadCommitted)
    }

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        if self.default(transaction).await?.is_none() {
            return Ok(false);
        }
        take_turn(transaction).await?;
        transaction.execute_unprepared(STATEMENT_TIMEOUT).await?;
        // Another replica may have been faster.
        let Some(default) = self.default(transaction).await? else {
            return Ok(false);
        };
        if self.has_too_many(transaction, &default).await? {
            tracing::warn!(
                partition = self.0.table(),
                "a partition is not made: too many events of its month are in {default} already, and stay there"
            );
            return Ok(false);
        }
        if self.is_large(transaction, &default).await? {
            tracing::warn!(
                partition = self.0.table(),
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
            !ranges.any(|range| range.ids.overlap(self.0.ids()))
        };
        Ok(found.filter(lacks).map(|found| found.default))
    }

    async fn has_too_many(&self, transaction: &DatabaseTransaction, default: &str) -> Result<bool, Failure> {
        let range = self.range();
        let text = format!("SELECT 1 AS one FROM {default} WHERE {range} OFFSET {MOVED_MAX} LIMIT 1");
        let statement = Statement::from_string(transaction.get_database_backend(), text);
        Ok(transaction.query_one_raw(statement).await?.is_some())
    }

    async fn is_large(&self, transaction: &DatabaseTransaction, default: &str) -> Result<bool, Failure> {
        let text = format!("SELECT pg_relation_size('{default}') AS bytes");
        let statement = Statement::from_string(transaction.get_database_backend(), text);
        let row = transaction
            .query_one_raw(statement)
            .await?
            .ok_or(Failure::CORRUPT)?;
        Ok(row.try_get::<i64>("", "bytes")? > DEFAULT_MAX)
    }

    fn range(&self) -> String {
        let (from, to) = (self.0.first_id(), self.0.next().first_id());
        format!("id >= '{from}' AND id < '{to}'")
    }

    fn statements(&self, default: &str) -> [String; 6] {
        let (from, to) = (self.0.first_id(), self.0.next().first_id());
        let (table, range) = (self.0.table(), self.range());
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
