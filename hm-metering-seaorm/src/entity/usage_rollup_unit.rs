//! Units of other meters than `requests`, by minute, hour and day.
//!
//! A dimension that an event lacks is the nil UUID or the empty text, because a primary key has no nulls.
use sea_orm::entity::prelude::*;

/// One row of `usage_rollup_units`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_units")]
pub struct Model {
    /// Who is charged.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// 0 for a minute, 1 for an hour, 2 for a day, all in UTC.
    #[sea_orm(primary_key, auto_increment = false)]
    pub grain: i16,
    /// The first instant of the bucket.
    #[sea_orm(primary_key, auto_increment = false)]
    pub bucket_start: i64,
    /// The key used, or the nil UUID.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: Uuid,
    /// The operation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub operation: String,
    /// The source, or the empty text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub source: String,
    /// The first digit of the HTTP status.
    #[sea_orm(primary_key, auto_increment = false)]
    pub status_class: i16,
    /// The meter.
    #[sea_orm(primary_key, auto_increment = false)]
    pub meter: String,
    /// Units charged.
    pub units: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
