//! The audit log: who changed what. Rows are inserted, never changed.
use sea_orm::entity::prelude::*;

/// One row of `audit_log`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_log")]
pub struct Model {
    /// The entry.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The account concerned, if it is one's.
    pub account_id: Option<Uuid>,
    /// Who did it; none for the system itself.
    pub actor_id: Option<Uuid>,
    /// What the actor is: `user`, `key`, `operator`, `system`.
    pub actor_kind: String,
    /// What was done, such as `key.revoke`.
    pub action: String,
    /// What it was done to, such as `key`.
    pub subject_kind: String,
    /// The id of that.
    pub subject_id: String,
    /// The state before; without secrets.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub before: Option<Json>,
    /// The state after; without secrets.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub after: Option<Json>,
    /// The request that did it.
    pub request_id: Option<String>,
    /// When it was done.
    pub created_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
