//! SQL storage for `hm-metering`.

pub mod connect;
pub mod entity;
pub mod migration;
#[cfg(feature = "testing")]
pub mod testing;

pub use connect::{Options, connect};
pub use migration::Migrator;
pub use sea_orm;
pub use sea_orm_migration;
