//! How far the work on the ledger as a whole has come.
use sea_orm::entity::prelude::*;

/// One row of `usage_marks`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_marks")]
pub struct Model {
    /// What work: `events_pruned` or `minutes_pruned`, before which events, and sums by minute, may be missing.
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// The moment up to which it has come.
    pub reached_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
