//! Usage rollups: sums of events by hour.
//!
//! A dimension that an event lacks is the nil UUID or the empty text, because a primary key has no nulls.
use sea_orm::entity::prelude::*;

/// One row of `usage_rollups`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollups")]
pub struct Model {
    /// Who is charged.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The first instant of the hour.
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
    /// Events.
    pub count: i64,
    /// Units of the meter `requests`.
    pub units: i64,
    /// Sum of the response times.
    pub response_time_us_sum: i64,
    /// The longest response time.
    pub response_time_us_max: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
