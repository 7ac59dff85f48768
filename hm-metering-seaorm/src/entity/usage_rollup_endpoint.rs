//! Sums of events by route, by minute, hour and day.
//!
//! A table of its own: where a framework does not tell its route templates, there are as many routes as paths.
use sea_orm::entity::prelude::*;

/// One row of `usage_rollup_endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_rollup_endpoints")]
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
    /// The route.
    #[sea_orm(primary_key, auto_increment = false)]
    pub endpoint: String,
    /// Events.
    pub requests: i64,
    /// Those that did not reach the handler.
    pub refused: i64,
    /// Those that reached the handler and ended with a status of 500 or above.
    pub failed: i64,
    /// Units of the meter `requests`.
    pub units: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
