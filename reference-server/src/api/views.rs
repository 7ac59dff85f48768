//! People and accounts as the API shows them.

use hm_metering::Timestamp;
use hm_metering_seaorm::entity::{UserRole, account, user};
use salvo::oapi::ToSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::Member;

/// A person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "User"))]
pub struct UserView {
    /// The person's id.
    pub id: Uuid,
    /// The address they sign in with, in lower case.
    pub email: String,
    /// Their name, if they gave one.
    pub name: Option<String>,
    /// `user`, `support` or `admin`.
    pub role: String,
    /// Whether they proved that the address is theirs.
    pub email_verified: bool,
    /// When they registered.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "Account"))]
pub struct AccountView {
    /// The account's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The plan it is on.
    pub tier: String,
    /// When it began; months of the quota are counted from this day.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

/// The person who asks, and the account they act for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "Me"))]
pub struct MeView {
    /// The person.
    #[serde(flatten)]
    pub user: UserView,
    /// The account.
    pub account: AccountView,
}

impl From<user::Model> for UserView {
    fn from(user: user::Model) -> Self {
        let role = match user.role {
            UserRole::User => "user",
            UserRole::Support => "support",
            UserRole::Admin => "admin",
        };
        Self {
            id: user.id,
            email: user.email,
            name: Some(user.name).filter(|name| !name.is_empty()),
            role: role.to_owned(),
            email_verified: user.email_verified_at.is_some(),
            created_at: Timestamp::from_micros(user.created_at),
        }
    }
}

impl AccountView {
    /// The account at `now`.
    #[must_use]
    pub fn new(account: account::Model, now: Timestamp) -> Self {
        Self {
            id: account.id,
            tier: account.tier_at(now).to_owned(),
            name: account.name,
            created_at: Timestamp::from_micros(account.created_at),
        }
    }
}

impl MeView {
    /// The person and the account at `now`.
    #[must_use]
    pub fn new(member: Member, now: Timestamp) -> Self {
        Self {
            user: member.user.into(),
            account: AccountView::new(member.account, now),
        }
    }
}
