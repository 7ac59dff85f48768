//! Quota counters and the leases taken from them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::ddl::{create_table, drop_tables};
use super::{id, index, micros};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("quota_counters")
            .col(id("account_id"))
            .col(string_len("meter", 64))
            .col(micros("period_start"))
            .col(micros("period_end"))
            .col(big_integer("used"))
            .col(big_integer("leased"))
            .col(big_integer("token"))
            .col(big_integer_null("quota"))
            .col(string_len("tier", 64))
            .col(micros("updated_at"))
            .primary_key(Index::create().col("account_id").col("meter").col("period_start"))
            .to_owned();
        create_table(manager, table).await?;
        let table = Table::create()
            .table("quota_leases")
            .col(id("account_id"))
            .col(string_len("meter", 64))
            .col(micros("period_start"))
            .col(id("replica"))
            .col(big_integer("epoch"))
            .col(big_integer("token"))
            .col(big_integer("granted"))
            .col(big_integer("settled"))
            .col(big_integer("last_op"))
            .col(big_integer_null("last_grant"))
            .col(micros("expires_at"))
            .col(string_len("state", 16))
            .col(micros("updated_at"))
            .primary_key(
                Index::create()
                    .col("account_id")
                    .col("meter")
                    .col("period_start")
                    .col("replica")
                    .col("epoch"),
            )
            .to_owned();
        create_table(manager, table).await?;
        index(manager, "quota_leases", &["replica", "state"]).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["quota_leases", "quota_counters"]).await
    }
}
