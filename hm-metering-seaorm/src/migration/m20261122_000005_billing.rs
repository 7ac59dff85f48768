//! Subscriptions.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::ddl::{create_table, drop_tables};
use super::{id, index, micros, unique};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("subscriptions")
            .col(id("id").primary_key())
            .col(id("account_id"))
            .col(string_len("tier", 64))
            .col(string_len("provider", 64))
            .col(string_len("subscription_id", 128))
            .col(string_len("status", 32))
            .col(micros("period_start"))
            .col(micros("period_end"))
            .col(micros("created_at"))
            .col(micros("updated_at"))
            .foreign_key(
                ForeignKey::create()
                    .name("fk_subscriptions_account_id")
                    .from("subscriptions", "account_id")
                    .to("accounts", "id")
                    .on_delete(ForeignKeyAction::Restrict),
            )
            .to_owned();
        create_table(manager, table).await?;
        unique(manager, "subscriptions", &["provider", "subscription_id"]).await?;
        index(manager, "subscriptions", &["account_id"]).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["subscriptions"]).await
    }
}
