//! Moves of accounts to another plan at a later time.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::micros_null;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite takes one column at a time.
        for column in [string_len_null("next_tier", 64), micros_null("next_tier_at")] {
            manager
                .alter_table(Table::alter().table("accounts").add_column(column).to_owned())
                .await?;
        }
        Ok(())
    }

    /// Moves that have not been written down as the account's plan are forgotten.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["next_tier_at", "next_tier"] {
            manager
                .alter_table(Table::alter().table("accounts").drop_column(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
