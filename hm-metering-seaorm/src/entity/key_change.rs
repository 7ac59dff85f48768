//! The change feed: which keys and accounts changed, in the order of their commits.
use sea_orm::entity::prelude::*;

/// One row of `key_changes`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_changes")]
pub struct Model {
    /// The place in the feed; a later commit has a higher one.
    #[sea_orm(primary_key)]
    pub seq: i64,
    /// The key that changed; none when the account did.
    pub key_id: Option<Uuid>,
    /// The account that changed, or that the key belongs to.
    pub account_id: Uuid,
    /// The key's version, or the account's `tier_version`, after the change.
    pub version: i64,
    /// What happened: `insert`, `update`, `revoke`, `rotate`, `tier`.
    pub kind: String,
    /// When it happened.
    pub created_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
