//! A version that is still to come, which follows the rules: its step adds and takes nothing away.

#![expect(
    elided_lifetimes_in_paths,
    reason = "`MigrationTrait` elides the lifetime of the manager, and an implementation must match"
)]

use async_trait::async_trait;
use hm_metering_seaorm::migration::{add_columns, create_index, create_table, drop_columns, migrations};
use hm_metering_seaorm::sea_orm::DbErr;
use hm_metering_seaorm::sea_orm_migration::prelude::*;
use hm_metering_seaorm::sea_orm_migration::schema::{big_integer, string_len, string_len_null};

/// Tables that every kind of call uses.
const TABLES: [&str; 8] = [
    "accounts",
    "api_keys",
    "quota_counters",
    "quota_leases",
    "usage_batches",
    "usage_events",
    "usage_rollup_sums",
    "usage_summaries",
];

pub struct Later;

impl MigratorTrait for Later {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = migrations();
        all.push(Box::new(Expand));
        all
    }
}

struct Expand;

impl MigrationName for Expand {
    fn name(&self) -> &str {
        "m20991231_000099_expand"
    }
}

fn columns() -> [ColumnDef; 2] {
    [
        string_len_null("later_note", 64),
        big_integer("later_weight").default(1).take(),
    ]
}

fn index() -> IndexCreateStatement {
    Index::create()
        .name("idx_usage_events_later_note_created_at")
        .table("usage_events")
        .col("later_note")
        .col("created_at")
        .to_owned()
}

#[async_trait]
impl MigrationTrait for Expand {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            add_columns(manager, table, columns()).await?;
        }
        create_index(manager, "usage_events", index()).await?;
        let notes = Table::create()
            .table("later_notes")
            .col(string_len("name", 64).primary_key())
            .to_owned();
        create_table(manager, notes).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("later_notes").to_owned())
            .await?;
        manager
            .drop_index(
                Index::drop()
                    .name("idx_usage_events_later_note_created_at")
                    .table("usage_events")
                    .to_owned(),
            )
            .await?;
        for table in TABLES {
            let names = columns().map(|column| column.get_column_name());
            drop_columns(manager, table, names).await?;
        }
        Ok(())
    }
}
