//! Quotas of single keys.
//!
//! Their counters are rows of `quota_counters` and `quota_leases` like all others: `store/quota/meter.rs` says how they are told
//! from those of accounts.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::{ddl, micros_null};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [json_binary_null("quotas"), micros_null("quotas_since")];
        ddl::add_columns(manager, "api_keys", columns).await
    }

    /// The quotas of keys and what was counted for them are forgotten; what was counted for accounts stays.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["quota_leases", "quota_counters"] {
            let delete = format!("DELETE FROM {table} WHERE meter LIKE '%#%'");
            manager.get_connection().execute_unprepared(&delete).await?;
        }
        let columns = ["quotas_since", "quotas"].map(str::to_owned);
        ddl::drop_columns(manager, "api_keys", columns).await
    }
}
