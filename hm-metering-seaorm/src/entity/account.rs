//! Accounts: who is billed and limited.
use hm_metering::Timestamp;
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
    /// The plan it is on until a scheduled move takes effect; [`Model::tier_at`] says which one holds. Change it by
    /// `SeaOrmStore::set_tier` or `schedule_tier`, which tell every replica.
    pub tier: String,
    /// How often the plan has changed or a move was scheduled; grows by one with each change.
    pub tier_version: i64,
    /// When it began, in microseconds; anchored periods count from here.
    pub created_at: i64,
    /// When the row last changed.
    pub updated_at: i64,
    /// When it was closed; its ledger stays.
    pub closed_at: Option<i64>,
    /// The plan that it moves to, and stays on after that; none when no move is scheduled.
    pub next_tier: Option<String>,
    /// When it moves.
    pub next_tier_at: Option<i64>,
}

impl Model {
    /// The plan that holds at `now`.
    #[must_use]
    pub fn tier_at(&self, now: Timestamp) -> &str {
        match (&self.next_tier, self.next_tier_at) {
            (Some(next), Some(at)) if at <= now.as_micros() => next,
            _ => &self.tier,
        }
    }
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
