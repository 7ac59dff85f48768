//! Subscriptions: what a billing provider says an account pays for.
use sea_orm::entity::prelude::*;

/// One row of `subscriptions`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "subscriptions")]
pub struct Model {
    /// The subscription here.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The plan it buys.
    pub tier: String,
    /// The billing provider.
    pub provider: String,
    /// The provider's id of it; unique with the provider.
    pub subscription_id: String,
    /// What the provider says: `active`, `past_due`, `cancelled`, …
    pub status: String,
    /// The first instant of the paid period.
    pub period_start: i64,
    /// The first instant after it.
    pub period_end: i64,
    /// When it began.
    pub created_at: i64,
    /// When the row last changed.
    pub updated_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
