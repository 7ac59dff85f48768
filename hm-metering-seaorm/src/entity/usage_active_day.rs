//! Which accounts have events on which day.
use sea_orm::entity::prelude::*;

/// One row of `usage_active_days`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_active_days")]
pub struct Model {
    /// The first instant of the day in UTC.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day_start: i64,
    /// Who has events on it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
