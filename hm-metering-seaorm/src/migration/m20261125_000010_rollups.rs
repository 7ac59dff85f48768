//! Sums of events by minute, hour and day, in place of those by hour.
//!
//! `usage_rollups` stays for servers of the version before, which go on writing it until they are stopped. What they
//! record is missing in the new tables until they are rebuilt from the events.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::ddl::{create_table, drop_tables};
use super::{id, micros};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = bucket("usage_rollup_sums")
            .col(id("key_id"))
            .col(string_len("operation", 128))
            .col(string_len("source", 128))
            .col(small_integer("status_class"))
            .col(big_integer("requests"))
            .col(big_integer("refused"))
            .col(big_integer("failed"))
            .col(big_integer("units"))
            .col(big_integer("response_time_us_sum"))
            .col(big_integer("response_time_us_max"))
            .col(blob("sketch"))
            .primary_key(
                bucket_key()
                    .col("key_id")
                    .col("operation")
                    .col("source")
                    .col("status_class"),
            )
            .to_owned();
        create_table(manager, table).await?;
        let table = bucket("usage_rollup_units")
            .col(id("key_id"))
            .col(string_len("operation", 128))
            .col(string_len("source", 128))
            .col(small_integer("status_class"))
            .col(string_len("meter", 64))
            .col(big_integer("units"))
            .primary_key(
                bucket_key()
                    .col("key_id")
                    .col("operation")
                    .col("source")
                    .col("status_class")
                    .col("meter"),
            )
            .to_owned();
        create_table(manager, table).await?;
        let table = bucket("usage_rollup_endpoints")
            .col(id("key_id"))
            .col(string_len("endpoint", 512))
            .col(big_integer("requests"))
            .col(big_integer("refused"))
            .col(big_integer("failed"))
            .col(big_integer("units"))
            .primary_key(bucket_key().col("key_id").col("endpoint"))
            .to_owned();
        create_table(manager, table).await?;
        // Who did anything on a day. It is asked over all accounts, and an index of the sums for that would draw questions to
        // itself that are about one account.
        let table = Table::create()
            .table("usage_active_days")
            .col(micros("day_start"))
            .col(id("account_id"))
            .primary_key(Index::create().col("day_start").col("account_id"))
            .to_owned();
        create_table(manager, table).await?;
        let table = Table::create()
            .table("usage_marks")
            .col(string_len("name", 64).primary_key())
            .col(micros("reached_at"))
            .to_owned();
        create_table(manager, table).await?;
        crate::store::operator::rebuild_everything(manager.get_connection()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = [
            "usage_marks",
            "usage_active_days",
            "usage_rollup_endpoints",
            "usage_rollup_units",
            "usage_rollup_sums",
        ];
        drop_tables(manager, &tables).await
    }
}

fn bucket(table: &'static str) -> TableCreateStatement {
    Table::create()
        .table(table)
        .col(id("account_id"))
        .col(small_integer("grain"))
        .col(micros("bucket_start"))
        .to_owned()
}

fn bucket_key() -> IndexCreateStatement {
    Index::create()
        .col("account_id")
        .col("grain")
        .col("bucket_start")
        .to_owned()
}
