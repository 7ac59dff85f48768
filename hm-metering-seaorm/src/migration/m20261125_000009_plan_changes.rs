//! Moves of accounts to another plan at a later time.

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
        let columns = [string_len_null("next_tier", 64), micros_null("next_tier_at")];
        ddl::add_columns(manager, "accounts", columns).await
    }

    /// Moves that have not been written down as the account's plan are forgotten.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = ["next_tier_at", "next_tier"].map(str::to_owned);
        ddl::drop_columns(manager, "accounts", columns).await
    }
}
