//! Accounts: who is billed and limited.
use sea_orm::entity::prelude::*;

/// One row of `accounts`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The name that people gave it; empty when only a key made it known.
    pub name: String,
    /// The plan it is on now. Change it by `SeaOrmStore::set_tier`, which tells every replica.
    pub tier: String,
    /// How often the plan has changed; grows by one with each change.
    pub tier_version: i64,
    /// When it began, in microseconds; anchored periods count from here.
    pub created_at: i64,
    /// When the row last changed.
    pub updated_at: i64,
    /// When it was closed; its ledger stays.
    pub closed_at: Option<i64>,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
