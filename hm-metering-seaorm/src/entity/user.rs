//! Users: people who log in.
use sea_orm::entity::prelude::*;

use super::{PasswordHash, UserRole};

/// One row of `users`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The address, trimmed and lower-cased; unique.
    #[sea_orm(unique)]
    pub email: String,
    /// The salted hash of the password, in PHC form.
    pub password_hash: PasswordHash,
    /// The name to address the person by; may be empty.
    pub name: String,
    /// What the person may do beyond their own accounts.
    pub role: UserRole,
    /// When the address was proved to belong to the person.
    pub email_verified_at: Option<i64>,
    /// The plan chosen at sign-up: a fact that never changes. Limits come from the account.
    pub tier: String,
    /// When the person signed up.
    pub created_at: i64,
    /// When the row last changed.
    pub updated_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
