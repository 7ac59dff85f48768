//! Versioned steps of the schema: those of `hm_metering_seaorm`, then the server's own.

#![expect(
    elided_lifetimes_in_paths,
    reason = "`MigrationTrait` elides the lifetime of the manager, and an implementation must match"
)]

mod m20261122_100001_sessions;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// Brings a database to the schema of this version of the server, or back.
#[derive(Clone, Copy, Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = hm_metering_seaorm::migration::migrations();
        all.push(Box::new(m20261122_100001_sessions::Migration));
        all
    }
}
