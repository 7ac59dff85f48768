//! Use counts of keys.

use std::collections::BTreeMap;

use async_trait::async_trait;
use hm_metering::AccountId;
use hm_metering::keys::KeyUse;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect, Statement, Value, prelude::Uuid,
};
use serde_json::json;

use crate::entity::api_key;
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;

/// How often each key was used, and when last; where an account is named, only if the key is the account's.
#[derive(Default)]
pub(in crate::store) struct KeyUses(BTreeMap<(Uuid, Option<Uuid>), (i64, i64)>);

impl KeyUses {
    pub(in crate::store) fn new(uses: impl IntoIterator<Item = (Option<AccountId>, KeyUse)>) -> Self {
        let mut sums = BTreeMap::new();
        for (account, used) in uses {
            let whose = (used.key.as_uuid(), account.map(|account| account.as_uuid()));
            let (count, last) = sums.entry(whose).or_insert((0_i64, i64::MIN));
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
        let uses: Vec<Use> = self
            .0
            .iter()
            .map(|((id, account), (count, last))| (*id, *account, *count, *last))
            .collect();
        for chunk in uses.chunks(sql::rows_max(4)) {
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

type Use = (Uuid, Option<Uuid>, i64, i64);

fn add(backend: DbBackend, uses: &[Use]) -> Statement {
    if backend == DbBackend::MySql {
        return add_json(uses);
    }
    let mut values: Vec<Value> = Vec::with_capacity(uses.len() * 4);
    let mut rows = Vec::with_capacity(uses.len());
    for (id, account, count, last) in uses {
        let fields = [
            Value::from(*id),
            Value::from(*account),
            Value::from(*count),
            Value::from(*last),
        ];
        let parameters = fields.map(|field| {
            values.push(field);
            sql::parameter(backend, values.len())
        });
        rows.push(format!("({})", parameters.join(", ")));
    }
    let text = format!(
        "UPDATE api_keys SET \
         usage_count = api_keys.usage_count + {least}(used.column3, {max} - api_keys.usage_count), \
         last_used_at = {greatest}(COALESCE(api_keys.last_used_at, used.column4), used.column4) \
         FROM (VALUES {rows}) AS used \
         WHERE api_keys.id = used.column1 AND COALESCE(used.column2, api_keys.account_id) = api_keys.account_id",
        least = sql::least(backend),
        greatest = sql::greatest(backend),
        max = i64::MAX,
        rows = rows.join(", "),
    );
    Statement::from_sql_and_values(backend, text, values)
}

/// MariaDB and MySQL agree on no other way to join with rows that come with the statement. They take the locks in the order
/// of these rows.
fn add_json(uses: &[Use]) -> Statement {
    let rows: Vec<_> = uses
        .iter()
        .map(|(id, account, count, last)| {
            let account = account.map(|account| account.simple().to_string());
            json!([id.simple().to_string(), account, count, last])
        })
        .collect();
    let text = format!(
        "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (id CHAR(32) PATH '$[0]', account CHAR(32) PATH '$[1]', \
         uses BIGINT PATH '$[2]', latest BIGINT PATH '$[3]')) AS used \
         STRAIGHT_JOIN api_keys ON api_keys.id = UNHEX(used.id) \
         AND COALESCE(UNHEX(used.account), api_keys.account_id) = api_keys.account_id SET \
         usage_count = api_keys.usage_count + LEAST(used.uses, {max} - api_keys.usage_count), \
         last_used_at = GREATEST(COALESCE(api_keys.last_used_at, used.latest), used.latest)",
        max = i64::MAX,
    );
    let rows = Value::from(serde_json::Value::from(rows).to_string());
    Statement::from_sql_and_values(DbBackend::MySql, text, [rows])
}
