//! Versioned steps of the schema, each with a way back.
//!
//! A server with tables of its own chains its steps after ours:
//!
//! ```
//! use sea_orm_migration::{MigrationTrait, MigratorTrait};
//!
//! struct ServerMigrator;
//!
//! impl MigratorTrait for ServerMigrator {
//!     fn migrations() -> Vec<Box<dyn MigrationTrait>> {
//!         let mut all = hm_metering_seaorm::migration::migrations();
//!         all.extend(Vec::<Box<dyn MigrationTrait>>::new()); // the server's own
//!         all
//!     }
//! }
//! ```

#![expect(
    elided_lifetimes_in_paths,
    reason = "`MigrationTrait` elides the lifetime of the manager, and an implementation must match"
)]

mod ddl;
mod m20261122_000001_accounts;
mod m20261122_000002_keys;
mod m20261122_000003_quota;
mod m20261122_000004_usage;
mod m20261122_000005_billing;
mod m20261122_000006_audit;
mod m20261125_000007_event_details;
mod m20261125_000008_slow_hash;
mod m20261125_000009_plan_changes;
mod m20261125_000010_rollups;
mod m20261126_000011_closed_summaries;
mod m20261129_000012_partitions;
mod m20261129_000013_key_quotas;
mod run;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod turn;

use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, uuid};

pub use self::ddl::{add_columns, create_index, create_table, drop_columns, drop_index, drop_tables};
pub use self::run::{MigrateError, Step, down, must_be_current, status, up};

/// Held on PostgreSQL by whoever changes the schema, and shared by those who must not do so meanwhile. Any number will do that
/// nobody else locks: "hm-step" in ASCII.
pub(crate) const STEPS_LOCK: i64 = 29_393_439_554_798_960;

/// Brings a database to this version of the schema, or back.
#[derive(Clone, Copy, Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        migrations()
    }
}

/// All steps in order.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(m20261122_000001_accounts::Migration),
        Box::new(m20261122_000002_keys::Migration),
        Box::new(m20261122_000003_quota::Migration),
        Box::new(m20261122_000004_usage::Migration),
        Box::new(m20261122_000005_billing::Migration),
        Box::new(m20261122_000006_audit::Migration),
        Box::new(m20261125_000007_event_details::Migration),
        Box::new(m20261125_000008_slow_hash::Migration),
        Box::new(m20261125_000009_plan_changes::Migration),
        Box::new(m20261125_000010_rollups::Migration),
        Box::new(m20261126_000011_closed_summaries::Migration),
        Box::new(m20261129_000012_partitions::Migration),
        Box::new(m20261129_000013_key_quotas::Migration),
    ]
}

/// A column that holds an id.
fn id(name: &'static str) -> ColumnDef {
    uuid(name)
}

/// A column that holds a time: microseconds since the Unix epoch.
fn micros(name: &'static str) -> ColumnDef {
    big_integer(name)
}

/// A column that holds a time or nothing.
fn micros_null(name: &'static str) -> ColumnDef {
    big_integer_null(name)
}

async fn index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    create_index(manager, table, index_on("idx", table, columns)).await
}

async fn unique(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    create_index(manager, table, index_on("uq", table, columns).unique().to_owned()).await
}

fn index_on(kind: &str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index
        .name(format!("{kind}_{table}_{}", columns.join("_")))
        .table(table);
    for column in columns {
        index.col(*column);
    }
    index
}
