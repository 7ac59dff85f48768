//! Quota counters: one per account, meter and period.
use sea_orm::entity::prelude::*;

/// One row of `quota_counters`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "quota_counters")]
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
    /// Units that are settled: what the ledger says was spent.
    pub used: i64,
    /// Units debited for leases and not settled yet.
    pub leased: i64,
    /// The last fencing token given out for this counter.
    pub token: i64,
    /// The limit in force at the last lease; none means unlimited.
    pub quota: Option<i64>,
    /// The plan at the last lease or flush; empty when not known.
    pub tier: String,
    /// When the row last changed.
    pub updated_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
