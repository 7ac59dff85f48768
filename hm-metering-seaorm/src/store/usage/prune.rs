//! Removing the oldest events, a bounded number at a time.

use async_trait::async_trait;
use hm_metering::Timestamp;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement, Value};

use crate::error::Failure;
use crate::sql;
use crate::store::operator::marks;
use crate::store::run::Work;

pub(super) struct Prune {
    pub(super) before: Timestamp,
    pub(super) limit: usize,
}

#[async_trait]
impl Work for Prune {
    type Answer = u64;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        if self.limit > 0 {
            marks::reach(transaction, marks::EVENTS, self.before.as_micros()).await?;
        }
        let backend = transaction.get_database_backend();
        #[cfg(feature = "postgres")]
        if backend == DbBackend::Postgres {
            return by_id::remove(transaction, self).await;
        }
        let oldest = oldest(backend);
        let text = match backend {
            // It takes no limit in a subquery, and one in the deletion itself.
            DbBackend::MySql => format!("DELETE FROM usage_events {oldest}"),
            _ => format!("DELETE FROM usage_events WHERE id IN (SELECT id FROM usage_events {oldest})"),
        };
        let statement = Statement::from_sql_and_values(backend, text, self.values(self.limit));
        Ok(transaction.execute_raw(statement).await?.rows_affected())
    }
}

impl Prune {
    fn values(&self, limit: usize) -> [Value; 2] {
        [
            self.before.as_micros().into(),
            i64::try_from(limit).unwrap_or(i64::MAX).into(),
        ]
    }
}

fn oldest(backend: DbBackend) -> String {
    format!(
        "WHERE created_at < {} ORDER BY created_at, id LIMIT {}",
        sql::parameter(backend, 1),
        sql::parameter(backend, 2),
    )
}

/// On PostgreSQL, where the events are in several tables.
#[cfg(feature = "postgres")]
mod by_id {
    use sea_orm::prelude::Uuid;

    use super::*;

    /// How many ids are in memory at a time.
    const AT_ONCE: usize = 5_000;

    /// Looks for the ids first. Each of them leads to the one table that can have it; a deletion that looks for them by itself
    /// may read all tables instead.
    pub(super) async fn remove(transaction: &DatabaseTransaction, prune: &Prune) -> Result<u64, Failure> {
        let select = format!("SELECT id FROM usage_events {}", oldest(DbBackend::Postgres));
        let mut left = prune.limit;
        let mut removed = 0;
        while left > 0 {
            let next = left.min(AT_ONCE);
            let values = prune.values(next);
            let select = Statement::from_sql_and_values(DbBackend::Postgres, &select, values);
            let rows = transaction.query_all_raw(select).await?;
            let ids: Vec<Uuid> = rows
                .iter()
                .map(|row| row.try_get("", "id"))
                .collect::<Result<_, _>>()?;
            let found = ids.len();
            if found > 0 {
                let delete = "DELETE FROM usage_events WHERE id = ANY($1)";
                let delete = Statement::from_sql_and_values(DbBackend::Postgres, delete, [ids.into()]);
                removed += transaction.execute_raw(delete).await?.rows_affected();
            }
            if found < next {
                break;
            }
            left -= next;
        }
        Ok(removed)
    }
}
