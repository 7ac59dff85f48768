//! What else is known of a finished request.

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::*;

use super::ddl;

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
        ddl::add_columns(manager, "usage_events", columns()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let names = columns().map(|column| column.get_column_name());
        ddl::drop_columns(manager, "usage_events", names.into_iter().rev()).await
    }
}
