//! Accounts, users and who belongs to what.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::ddl::{create_table, drop_tables};
use super::{id, index, micros, micros_null, unique};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("accounts")
            .col(id("id").primary_key())
            .col(string_len("name", 255))
            .col(string_len("tier", 64))
            .col(big_integer("tier_version"))
            .col(micros("created_at"))
            .col(micros("updated_at"))
            .col(micros_null("closed_at"))
            .to_owned();
        create_table(manager, table).await?;
        let table = Table::create()
            .table("users")
            .col(id("id").primary_key())
            .col(string_len("email", 320))
            .col(string_len("password_hash", 255))
            .col(string_len("name", 255))
            .col(string_len("role", 16))
            .col(micros_null("email_verified_at"))
            .col(string_len("tier", 64))
            .col(micros("created_at"))
            .col(micros("updated_at"))
            .to_owned();
        create_table(manager, table).await?;
        unique(manager, "users", &["email"]).await?;
        let table = Table::create()
            .table("memberships")
            .col(id("account_id"))
            .col(id("user_id"))
            .col(string_len("role", 16))
            .col(micros("created_at"))
            .primary_key(Index::create().col("account_id").col("user_id"))
            .foreign_key(
                ForeignKey::create()
                    .name("fk_memberships_account_id")
                    .from("memberships", "account_id")
                    .to("accounts", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .foreign_key(
                ForeignKey::create()
                    .name("fk_memberships_user_id")
                    .from("memberships", "user_id")
                    .to("users", "id")
                    .on_delete(ForeignKeyAction::Cascade),
            )
            .to_owned();
        create_table(manager, table).await?;
        index(manager, "memberships", &["user_id"]).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["memberships", "users", "accounts"]).await
    }
}
