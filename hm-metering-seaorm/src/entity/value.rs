//! Column types of our own: closed sets of words, and bytes that no log may show.

use std::fmt;

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

/// What a user may do beyond their own accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// A customer.
    #[sea_orm(string_value = "user")]
    User,
    /// Answers tickets and may look at accounts.
    #[sea_orm(string_value = "support")]
    Support,
    /// May do everything.
    #[sea_orm(string_value = "admin")]
    Admin,
}

/// What a user may do for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Serialize, Deserialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))")]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Everything, and closing the account.
    #[sea_orm(string_value = "owner")]
    Owner,
    /// Everything but closing the account.
    #[sea_orm(string_value = "admin")]
    Admin,
    /// Keys and usage.
    #[sea_orm(string_value = "developer")]
    Developer,
    /// Plan, invoices and usage.
    #[sea_orm(string_value = "billing")]
    Billing,
    /// Reading.
    #[sea_orm(string_value = "viewer")]
    Viewer,
}

/// The hash of a password, in PHC form. Its `Debug` is mute.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PasswordHash(…)")
    }
}

/// The slow hash of a key, as its hasher wrote it. Its `Debug` is mute.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct SlowKeyHash(pub String);

impl fmt::Debug for SlowKeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SlowKeyHash(…)")
    }
}

/// The digest of a key, 32 bytes. Its `Debug` is mute.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct KeyHash(pub Vec<u8>);

impl fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyHash(…)")
    }
}
