//! Corrections of closed usage summaries. Rows are inserted, never changed.
use sea_orm::entity::prelude::*;

/// One row of `usage_corrections`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_corrections")]
pub struct Model {
    /// The correction.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The summary's account.
    pub account_id: Uuid,
    /// The summary's meter.
    pub meter: String,
    /// The first instant of the summary's period.
    pub period_start: i64,
    /// `late` for what was recorded after the summary had been closed, `manual` for what somebody decided.
    pub kind: String,
    /// Events to be added.
    pub count: i64,
    /// Units to be added; below zero to be taken away.
    pub units: i64,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
