//! What else is known of a finished request.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

/// The new columns. Rows that are there already get the defaults.
fn columns() -> [ColumnDef; 7] {
    [
        small_integer_null("grpc_status"),
        string_len_null("would_refuse", 64),
        boolean("over").default(false).take(),
        big_integer_null("first_byte_us"),
        big_integer("bytes_in").default(0).take(),
        big_integer("bytes_out").default(0).take(),
        json_binary_null("tags"),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds and drops one column in a statement.
        for column in columns() {
            let table = Table::alter().table("usage_events").add_column(column).to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns().into_iter().rev() {
            let table = Table::alter()
                .table("usage_events")
                .drop_column(column.get_column_name())
                .to_owned();
            manager.alter_table(table).await?;
        }
        Ok(())
    }
}
