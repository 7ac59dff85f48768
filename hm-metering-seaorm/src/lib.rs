#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod connect;
pub mod entity;
mod error;
pub mod migration;
mod sql;
mod store;
#[cfg(all(
    feature = "testing",
    any(feature = "sqlite", feature = "postgres", feature = "mysql")
))]
pub mod testing;

pub use connect::{Options, connect, connect_reader};
pub use error::kind_of;
pub use migration::Migrator;
pub use sea_orm;
pub use sea_orm_migration;
pub use store::{SeaOrmStore, operator, schedule_tier_in, set_tier_in, transaction};
