//! Use counts of keys.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hm_metering::keys::KeyUse;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement, Value, prelude::Uuid,
};

use crate::entity::api_key;
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;

/// How often each key was used, and when last.
#[derive(Default)]
pub(in crate::store) struct KeyUses(BTreeMap<Uuid, (i64, i64)>);

impl KeyUses {
    pub(in crate::store) fn new(uses: impl IntoIterator<Item = KeyUse>) -> Self {
        let mut sums = BTreeMap::new();
        for used in uses {
            let (count, last) = sums.entry(used.key.as_uuid()).or_insert((0_i64, i64::MIN));
            *count = count.saturating_add(i64::try_from(used.count).unwrap_or(i64::MAX));
            *last = (*last).max(used.last_used_at.as_micros());
        }
        Self(sums)
    }
}

#[async_trait]
impl Work for KeyUses {
    type Answer = ();

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let uses: Vec<_> = self
            .0
            .iter()
            .map(|(id, (count, last))| (*id, *count, *last))
            .collect();
        for chunk in uses.chunks(sql::rows_max(3)) {
            if transaction.get_database_backend() == DbBackend::Postgres {
                // Takes the row locks in the order of ids, so that two of these can't wait for each other.
                api_key::Entity::find()
                    .select_only()
                    .column(api_key::Column::Id)
                    .filter(api_key::Column::Id.is_in(chunk.iter().map(|(id, ..)| *id)))
                    .order_by_asc(api_key::Column::Id)
                    .lock_exclusive()
                    .into_tuple::<Uuid>()
                    .all(transaction)
                    .await?;
            }
            transaction
                .execute_raw(add(transaction.get_database_backend(), chunk))
                .await?;
        }
        Ok(())
    }
}

fn add(backend: DbBackend, uses: &[(Uuid, i64, i64)]) -> Statement {
    let mut values: Vec<Value> = Vec::with_capacity(uses.len() * 3);
    let mut rows = String::new();
    for (id, count, last) in uses {
        if !rows.is_empty() {
            rows.push_str(", ");
        }
        let first = values.len() + 1;
        rows.push_str(&format!(
            "({}, CAST({} AS BIGINT), CAST({} AS BIGINT))",
            sql::parameter(backend, first),
            sql::parameter(backend, first + 1),
            sql::parameter(backend, first + 2),
        ));
        values.extend([Value::from(*id), Value::from(*count), Value::from(*last)]);
    }
    let text = format!(
        "UPDATE api_keys SET \
         usage_count = api_keys.usage_count + {least}(used.column2, {max} - api_keys.usage_count), \
         last_used_at = {greatest}(COALESCE(api_keys.last_used_at, used.column3), used.column3) \
         FROM (VALUES {rows}) AS used WHERE api_keys.id = used.column1",
        least = sql::least(backend),
        greatest = sql::greatest(backend),
        max = i64::MAX,
    );
    Statement::from_sql_and_values(backend, text, values)
}
