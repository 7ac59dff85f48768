//! Removing what is only kept so that repeats change nothing.

use async_trait::async_trait;
use hm_metering::{StoreResult, Timestamp};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement, Value,
};

use crate::SeaOrmStore;
use crate::entity::usage_batch;
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;

/// How many rows go in one transaction.
const AT_ONCE: u64 = 5_000;
const CONTEXT: &str = "prune names of batches, closed leases and changes";

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrunedBookkeeping {
    /// Names of batches.
    pub batches: u64,
    /// Leases that were closed.
    pub leases: u64,
    /// Entries of the feed of changes.
    pub changes: u64,
}

/// Removes the names of batches that were made before `before`, leases that were closed before it, and changes of keys and
/// accounts that the feed told before it, but for the last one.
///
/// A batch whose name is gone counts again when it is repeated. So `before` must be older than any journal from which a
/// server may still be started, and than any cursor that is still followed. Batches of replicas whose ids are made from what
/// is in them (UUIDs of version 8), such as imports, keep their names for ever.
///
/// It works in steps of 5,000 rows, so nobody waits for it for long. Dropping the future ends it after a step; the call can
/// be repeated.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn prune_bookkeeping(store: &SeaOrmStore, before: Timestamp) -> StoreResult<PrunedBookkeeping> {
    let before = before.as_micros();
    let leases = Old {
        table: "quota_leases",
        condition: format!("state = 'closed' AND updated_at < {before}"),
        order: "updated_at",
        replica: None,
    };
    // MariaDB reads the table that it removes from only behind a second subquery.
    let last = "(SELECT last FROM (SELECT MAX(seq) AS last FROM key_changes) AS feed)";
    let changes = Old {
        table: "key_changes",
        condition: format!("created_at < {before} AND seq < {last}"),
        order: "seq",
        replica: None,
    };
    Ok(PrunedBookkeeping {
        batches: prune_batches(store, before).await?,
        leases: remove(store, leases).await?,
        changes: remove(store, changes).await?,
    })
}

/// Replica by replica: in the order of their numbers the oldest come first.
async fn prune_batches(store: &SeaOrmStore, before: i64) -> StoreResult<u64> {
    let (mut removed, mut last) = (0, None);
    while let Some(replica) = next_replica(store, last).await? {
        last = Some(replica);
        if replica.get_version_num() == 8 {
            continue;
        }
        let old = Old {
            table: "usage_batches",
            condition: format!("created_at < {before}"),
            order: "epoch, number",
            replica: last,
        };
        removed += remove(store, old).await?;
    }
    Ok(removed)
}

async fn next_replica(store: &SeaOrmStore, last: Option<Uuid>) -> StoreResult<Option<Uuid>> {
    store
        .read(CONTEXT, last, |db, last| async move {
            let mut select = usage_batch::Entity::find()
                .select_only()
                .column(usage_batch::Column::Replica)
                .order_by_asc(usage_batch::Column::Replica)
                .limit(1);
            if let Some(last) = last {
                select = select.filter(usage_batch::Column::Replica.gt(last));
            }
            Ok(select.into_tuple().one(&db).await?)
        })
        .await
}

async fn remove(store: &SeaOrmStore, old: Old) -> StoreResult<u64> {
    let mut removed = 0;
    loop {
        let rows = store.transact_patiently(CONTEXT, old.clone()).await?;
        removed += rows;
        if rows < AT_ONCE {
            return Ok(removed);
        }
    }
}

/// Rows of a table that may go, the first of them first.
#[derive(Clone)]
struct Old {
    table: &'static str,
    condition: String,
    order: &'static str,
    replica: Option<Uuid>,
}

#[async_trait]
impl Work for Old {
    type Answer = u64;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        let backend = transaction.get_database_backend();
        let Self { table, order, .. } = self;
        let (condition, values): (_, Vec<Value>) = match self.replica {
            Some(replica) => (
                format!("{} AND replica = {}", self.condition, sql::parameter(backend, 1)),
                vec![replica.into()],
            ),
            None => (self.condition.clone(), Vec::new()),
        };
        let first = format!("WHERE {condition} ORDER BY {order} LIMIT {AT_ONCE}");
        let delete = match backend {
            DbBackend::MySql => format!("DELETE FROM {table} {first}"),
            DbBackend::Sqlite => {
                format!("DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} {first})")
            }
            // A row that changed in the meantime is looked at again.
            _ => format!(
                "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} {first})) AND {condition}"
            ),
        };
        let statement = Statement::from_sql_and_values(backend, delete, values);
        Ok(transaction.execute_raw(statement).await?.rows_affected())
    }
}
