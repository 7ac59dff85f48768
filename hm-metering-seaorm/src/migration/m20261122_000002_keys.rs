//! API keys and the feed of their changes.

use sea_orm::DbBackend;
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
            .table("api_keys")
            .col(id("id").primary_key())
            .col(id("user_id"))
            .col(id("account_id"))
            .col(binary_len("key_hash", 32))
            .col(integer("pepper_id"))
            .col(string_len("name", 255))
            .col(string_len("prefix", 64))
            .col(string_len("last4", 8))
            .col(string_len("env", 16))
            .col(json_binary("scopes"))
            .col(string_len("tier", 64))
            .col(boolean("is_active"))
            .col(micros("created_at"))
            .col(micros("updated_at"))
            .col(micros_null("last_used_at"))
            .col(micros_null("expires_at"))
            .col(micros_null("not_before"))
            .col(micros_null("revoked_at"))
            .col(big_integer("usage_count"))
            .col(big_integer("version"))
            .col(json_binary("ip_allow"))
            .col(json_binary("metadata"))
            .col(json_binary_null("rate_limit"))
            .foreign_key(
                ForeignKey::create()
                    .name("fk_api_keys_account_id")
                    .from("api_keys", "account_id")
                    .to("accounts", "id")
                    .on_delete(ForeignKeyAction::Restrict),
            )
            .to_owned();
        create_table(manager, table).await?;
        unique(manager, "api_keys", &["key_hash"]).await?;
        index(manager, "api_keys", &["account_id", "created_at", "id"]).await?;
        let table = Table::create()
            .table("key_changes")
            .col(big_pk_auto("seq"))
            .col(uuid_null("key_id"))
            .col(id("account_id"))
            .col(big_integer("version"))
            .col(string_len("kind", 16))
            .col(micros("created_at"))
            .to_owned();
        create_table(manager, table).await?;
        feed_lock(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DbBackend::MySql {
            drop_tables(manager, &["key_changes_lock"]).await?;
        }
        drop_tables(manager, &["key_changes", "api_keys"]).await
    }
}

/// The one row that whoever writes to the feed holds on MariaDB and MySQL. Their locks by name don't end with the
/// transaction, as PostgreSQL's do.
async fn feed_lock(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::MySql {
        return Ok(());
    }
    let table = Table::create()
        .table("key_changes_lock")
        .col(small_integer("id").primary_key())
        .to_owned();
    create_table(manager, table).await?;
    manager
        .get_connection()
        .execute_unprepared("INSERT IGNORE INTO key_changes_lock (id) VALUES (1)")
        .await?;
    Ok(())
}
