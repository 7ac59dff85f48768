//! A slow hash beside a key's digest, for those whose policy demands one.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::string_len_null;

use super::ddl;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::add_columns(manager, "api_keys", [string_len_null("slow_hash", 255)]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        ddl::drop_columns(manager, "api_keys", ["slow_hash".to_owned()]).await
    }
}
