//! Usage summaries: what an account used of a meter in a period.
use sea_orm::entity::prelude::*;

/// One row of `usage_summaries`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_summaries")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The meter.
    #[sea_orm(primary_key, auto_increment = false)]
    pub meter: String,
    /// The first instant of the period.
    #[sea_orm(primary_key, auto_increment = false)]
    pub period_start: i64,
    /// The first instant after it.
    pub period_end: i64,
    /// The plan at the last flush; empty when not known.
    pub tier: String,
    /// Events.
    pub count: i64,
    /// Units charged; what came after the row was closed is in `usage_corrections`.
    pub units: i64,
    /// The limit in force at the last flush; none means unlimited.
    pub quota_limit: Option<i64>,
    /// When the row last changed.
    pub updated_at: i64,
    /// When it was closed; it never changes after that.
    pub closed_at: Option<i64>,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
