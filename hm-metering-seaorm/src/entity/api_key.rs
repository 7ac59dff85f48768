//! API keys. Only digests are stored, never a key.
use sea_orm::entity::prelude::*;

use super::{KeyHash, SlowKeyHash};

/// One row of `api_keys`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_keys")]
pub struct Model {
    /// The key's id, which is no secret.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Who made it; no foreign key, since people may be kept elsewhere.
    pub user_id: Uuid,
    /// Whose it is.
    pub account_id: Uuid,
    /// The digest that it is found by, 32 bytes; unique.
    #[sea_orm(unique)]
    pub key_hash: KeyHash,
    /// Which pepper made the digest.
    pub pepper_id: i32,
    /// The name that its owner gave it.
    pub name: String,
    /// The first characters of the key, shown in lists.
    pub prefix: String,
    /// The last four characters of the key, shown in lists.
    pub last4: String,
    /// `live` or `test`.
    pub env: String,
    /// What it may do: a list of texts.
    #[sea_orm(column_type = "JsonBinary")]
    pub scopes: Json,
    /// The account's plan when the key was made: a fact for reports. Limits come from the account.
    pub tier: String,
    /// False while its owner has switched it off, and after it was revoked.
    pub is_active: bool,
    /// When it was made.
    pub created_at: i64,
    /// When its owner or an operator last changed it.
    pub updated_at: i64,
    /// The latest use that has been flushed.
    pub last_used_at: Option<i64>,
    /// When it stops working by itself.
    pub expires_at: Option<i64>,
    /// Before this it does not work yet.
    pub not_before: Option<i64>,
    /// When it was revoked; for good.
    pub revoked_at: Option<i64>,
    /// Finished requests that named it.
    pub usage_count: i64,
    /// Grows with each change, so that a late message can't undo a newer one.
    pub version: i64,
    /// Networks that may use it: a list of texts; empty means any.
    #[sea_orm(column_type = "JsonBinary")]
    pub ip_allow: Json,
    /// What its owner attached: an object.
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    /// The rates of its own, a list; none if it has none.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub rate_limit: Option<Json>,
    /// A slow hash of the whole key, where the digest alone does not prove it.
    pub slow_hash: Option<SlowKeyHash>,
    /// The quotas of its own, a list; none if it has none.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub quotas: Option<Json>,
    /// Since when these meters are counted for it in these periods; none if it has no quotas.
    pub quotas_since: Option<i64>,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
