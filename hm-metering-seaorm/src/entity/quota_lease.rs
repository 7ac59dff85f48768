//! Quota leases: units that a replica took in advance.
use sea_orm::entity::prelude::*;

/// One row of `quota_leases`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "quota_leases")]
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
    /// The replica that holds it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub replica: Uuid,
    /// Which start of the replica.
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: i64,
    /// The fencing token; a lease that is closed and opened again gets a higher one.
    pub token: i64,
    /// Units granted in all.
    pub granted: i64,
    /// Units of the grant that are settled or given back.
    pub settled: i64,
    /// The number of the last operation applied: a repeat gets the same answer.
    pub last_op: i64,
    /// What the last operation granted; none when it gave units back.
    pub last_grant: Option<i64>,
    /// Until when the holder means to spend it.
    pub expires_at: i64,
    /// `open` or `closed`.
    pub state: String,
    /// When the row last changed.
    pub updated_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
