//! The audit log. No foreign keys: it outlives what it names.

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
            .table("audit_log")
            .col(id("id").primary_key())
            .col(uuid_null("account_id"))
            .col(uuid_null("actor_id"))
            .col(string_len("actor_kind", 16))
            .col(string_len("action", 64))
            .col(string_len("subject_kind", 32))
            .col(string_len("subject_id", 128))
            .col(json_binary_null("before"))
            .col(json_binary_null("after"))
            .col(string_len_null("request_id", 128))
            .col(micros("created_at"))
            .to_owned();
        create_table(manager, table).await?;
        index(manager, "audit_log", &["account_id", "created_at"]).await?;
        index(manager, "audit_log", &["subject_kind", "subject_id"]).await?;
        index(manager, "audit_log", &["created_at"]).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["audit_log"]).await
    }
}
