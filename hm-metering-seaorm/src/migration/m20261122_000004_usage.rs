//! The usage ledger: batches, events, rollups and summaries. No foreign keys: it outlives what it names.

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
            .table("usage_batches")
            .col(id("replica"))
            .col(big_integer("epoch"))
            .col(big_integer("number"))
            .col(integer("events"))
            .col(var_binary("digest", 32))
            .col(micros("created_at"))
            .primary_key(Index::create().col("replica").col("epoch").col("number"))
            .to_owned();
        create_table(manager, table).await?;
        index(manager, "usage_batches", &["created_at"]).await?;
        let table = Table::create()
            .table("usage_events")
            .col(id("id").primary_key())
            .col(id("account_id"))
            .col(uuid_null("user_id"))
            .col(uuid_null("key_id"))
            .col(string_len("operation", 128))
            .col(string_len("endpoint", 512))
            .col(string_len("method", 32))
            .col(string_len_null("source", 128))
            .col(integer("status"))
            .col(string_len("outcome", 32))
            .col(string_len_null("refusal", 64))
            .col(big_integer("units"))
            .col(json_binary_null("meter_units"))
            .col(big_integer("response_time_ms"))
            .col(big_integer("response_time_us"))
            .col(string_len("request_id", 128))
            .col(uuid_null("replica"))
            .col(micros("created_at"))
            .to_owned();
        create_table(manager, table).await?;
        index(manager, "usage_events", &["account_id", "created_at", "id"]).await?;
        index(manager, "usage_events", &["created_at"]).await?;
        let table = Table::create()
            .table("usage_rollups")
            .col(id("account_id"))
            .col(micros("bucket_start"))
            .col(id("key_id"))
            .col(string_len("operation", 128))
            .col(string_len("source", 128))
            .col(small_integer("status_class"))
            .col(big_integer("count"))
            .col(big_integer("units"))
            .col(big_integer("response_time_us_sum"))
            .col(big_integer("response_time_us_max"))
            .primary_key(
                Index::create()
                    .col("account_id")
                    .col("bucket_start")
                    .col("key_id")
                    .col("operation")
                    .col("source")
                    .col("status_class"),
            )
            .to_owned();
        create_table(manager, table).await?;
        let table = Table::create()
            .table("usage_summaries")
            .col(id("account_id"))
            .col(string_len("meter", 64))
            .col(micros("period_start"))
            .col(micros("period_end"))
            .col(string_len("tier", 64))
            .col(big_integer("count"))
            .col(big_integer("units"))
            .col(big_integer_null("quota_limit"))
            .col(micros("updated_at"))
            .primary_key(Index::create().col("account_id").col("meter").col("period_start"))
            .to_owned();
        create_table(manager, table).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(
            manager,
            &[
                "usage_summaries",
                "usage_rollups",
                "usage_events",
                "usage_batches",
            ],
        )
        .await
    }
}
