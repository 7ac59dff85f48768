//! People and the accounts they belong to.

use hm_metering::Timestamp;
use hm_metering_seaorm::entity::{MemberRole, account, membership, user};
use hm_metering_seaorm::transaction;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, IntoActiveModel,
    QueryFilter, QueryOrder, QuerySelect, Set,
};
use serde_json::json;
use uuid::Uuid;

use super::audit::{self, Change, Origin};
use super::{DomainError, Email};

/// A person acting for an account.
#[derive(Clone, Debug)]
pub struct Member {
    /// The person.
    pub user: user::Model,
    /// The account.
    pub account: account::Model,
    /// What the person may do there.
    pub role: MemberRole,
}

impl Member {
    /// The person and the account they joined first.
    ///
    /// # Errors
    ///
    /// [`DomainError::SessionOver`] if the person is gone or the account is closed.
    pub async fn find(db: &impl ConnectionTrait, user_id: Uuid) -> Result<Self, DomainError> {
        let user = user::Entity::find_by_id(user_id)
            .one(db)
            .await?
            .ok_or(DomainError::SessionOver)?;
        let membership = membership::Entity::find()
            .filter(membership::Column::UserId.eq(user_id))
            .order_by_asc(membership::Column::CreatedAt)
            .limit(1)
            .one(db)
            .await?
            .ok_or(DomainError::SessionOver)?;
        let account = open_account(db, membership.account_id)
            .await?
            .ok_or(DomainError::SessionOver)?;
        Ok(Self {
            user,
            account,
            role: membership.role,
        })
    }

    /// Gives the person another name.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn rename(
        self,
        db: &DatabaseConnection,
        name: String,
        origin: &Origin,
    ) -> Result<Self, DomainError> {
        let change = Change::new("user.update", "user", self.user.id)
            .by(self.user.id)
            .of(self.account.id)
            .before(json!({ "name": self.user.name }))
            .after(json!({ "name": name }));
        let mut renamed = self.user.into_active_model();
        renamed.name = Set(name);
        renamed.updated_at = Set(origin.at.as_micros());
        let origin = origin.clone();
        let user = transaction(db, move |tx| {
            let (renamed, change, origin) = (renamed.clone(), change.clone(), origin.clone());
            Box::pin(async move {
                let user = renamed.update(tx).await?;
                audit::record(tx, change, &origin).await?;
                Ok::<_, DomainError>(user)
            })
        })
        .await?;
        Ok(Self { user, ..self })
    }
}

/// The account, unless it is closed.
///
/// # Errors
///
/// The database fails.
pub async fn open_account(
    db: &impl ConnectionTrait,
    account_id: Uuid,
) -> Result<Option<account::Model>, DbErr> {
    account::Entity::find_by_id(account_id)
        .filter(account::Column::ClosedAt.is_null())
        .one(db)
        .await
}

/// The person with this address.
///
/// # Errors
///
/// The database fails.
pub async fn user_by_email(db: &impl ConnectionTrait, email: &str) -> Result<Option<user::Model>, DbErr> {
    user::Entity::find()
        .filter(user::Column::Email.eq(email))
        .one(db)
        .await
}

/// What a new account begins with.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// The address of its owner.
    pub email: Email,
    /// The name of its owner.
    pub name: Option<String>,
    /// The hash of the owner's password.
    pub password_hash: hm_metering_seaorm::entity::PasswordHash,
    /// The plan.
    pub tier: String,
}

/// Inserts person, account and membership.
///
/// # Errors
///
/// [`DomainError::EmailTaken`]; then the transaction can only be rolled back.
pub async fn open(tx: &impl ConnectionTrait, new: NewAccount, now: Timestamp) -> Result<Member, DomainError> {
    let at = now.as_micros();
    let account_name = new.name.clone().unwrap_or_else(|| new.email.local().to_owned());
    let user = user::ActiveModel {
        id: Set(Uuid::now_v7()),
        email: Set(new.email.as_str().to_owned()),
        password_hash: Set(new.password_hash),
        name: Set(new.name.unwrap_or_default()),
        role: Set(hm_metering_seaorm::entity::UserRole::User),
        email_verified_at: Set(None),
        tier: Set(new.tier.clone()),
        created_at: Set(at),
        updated_at: Set(at),
    };
    let user = user.insert(tx).await.map_err(|error| match error.sql_err() {
        Some(sea_orm::SqlErr::UniqueConstraintViolation(_)) => DomainError::EmailTaken,
        _ => DomainError::Database(error),
    })?;
    let account = account::ActiveModel {
        id: Set(Uuid::now_v7()),
        name: Set(account_name),
        tier: Set(new.tier),
        tier_version: Set(1),
        created_at: Set(at),
        updated_at: Set(at),
        closed_at: Set(None),
        next_tier: Set(None),
        next_tier_at: Set(None),
    };
    let account = account.insert(tx).await?;
    let membership = membership::ActiveModel {
        account_id: Set(account.id),
        user_id: Set(user.id),
        role: Set(MemberRole::Owner),
        created_at: Set(at),
    };
    membership.insert(tx).await?;
    Ok(Member {
        user,
        account,
        role: MemberRole::Owner,
    })
}
