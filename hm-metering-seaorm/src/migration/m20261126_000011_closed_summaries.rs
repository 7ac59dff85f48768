//! Summaries that are closed some time after their period, and corrections of closed ones.

use sea_orm::TransactionTrait;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::ddl::{add_columns, create_table, drop_columns, drop_index, drop_tables};
use super::{id, index, micros, micros_null};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_columns(manager, "usage_summaries", [micros_null("closed_at")]).await?;
        index(manager, "usage_summaries", &["closed_at", "period_end"]).await?;
        let table = Table::create()
            .table("usage_corrections")
            .col(id("id").primary_key())
            .col(id("account_id"))
            .col(string_len("meter", 64))
            .col(micros("period_start"))
            .col(string_len("kind", 16))
            .col(big_integer("count"))
            .col(big_integer("units"))
            .col(string_len("reason", 255))
            .col(micros("created_at"))
            .to_owned();
        create_table(manager, table).await?;
        index(
            manager,
            "usage_corrections",
            &["account_id", "meter", "period_start"],
        )
        .await
    }

    /// Corrections that came late are added to their summaries, where the version before would have put them. Those that
    /// people made are forgotten.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // It is gone where MariaDB or MySQL had come past that when an earlier attempt broke off.
        if manager.has_table("usage_corrections").await? {
            add_late_ones(manager.get_connection()).await?;
            drop_tables(manager, &["usage_corrections"]).await?;
        }
        let index = "idx_usage_summaries_closed_at_period_end";
        drop_index(manager, "usage_summaries", index).await?;
        drop_columns(manager, "usage_summaries", ["closed_at".to_owned()]).await
    }
}

/// They go away with that, in one transaction: MariaDB and MySQL commit it before they drop the table, and may fail to drop it.
async fn add_late_ones(db: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    let transaction = db.begin().await?;
    for column in ["count", "units"] {
        let of_late = format!(
            "(SELECT SUM(usage_corrections.{column}) FROM usage_corrections \
             WHERE usage_corrections.account_id = usage_summaries.account_id \
             AND usage_corrections.meter = usage_summaries.meter \
             AND usage_corrections.period_start = usage_summaries.period_start \
             AND usage_corrections.kind = 'late')"
        );
        let update = format!("UPDATE usage_summaries SET {column} = {column} + COALESCE({of_late}, 0)");
        transaction.execute_unprepared(&update).await?;
    }
    let added = "DELETE FROM usage_corrections WHERE kind = 'late'";
    transaction.execute_unprepared(added).await?;
    transaction.commit().await
}
