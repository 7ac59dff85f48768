//! Registering and signing in.

use hm_metering_seaorm::entity::PasswordHash;
use hm_metering_seaorm::transaction;

use super::accounts::{self, Member, NewAccount};
use super::audit::{self, Change, Origin};
use super::sessions::{self, OpenSession, SessionRules};
use super::{DomainError, Email};
use crate::auth::Passwords;
use crate::database::Database;
use crate::secret::Secret;

/// What somebody registers with.
#[derive(Debug)]
pub struct Registration {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: Secret,
    /// The name, if given.
    pub name: Option<String>,
    /// The plan that new accounts are on.
    pub tier: String,
}

/// Makes a person and an account of theirs, and signs them in: all or nothing.
///
/// # Errors
///
/// [`DomainError::EmailTaken`].
pub async fn register(
    db: &Database,
    passwords: &Passwords,
    rules: SessionRules,
    registration: Registration,
    origin: &Origin,
) -> Result<(Member, OpenSession), DomainError> {
    // Asked first, so that a taken address does not cost a hash; the unique index decides in the end.
    if accounts::user_by_email(db.reader(), registration.email.as_str())
        .await?
        .is_some()
    {
        return Err(DomainError::EmailTaken);
    }
    let password_hash = PasswordHash(passwords.hash(registration.password).await?);
    let new = NewAccount {
        email: registration.email,
        name: registration.name,
        password_hash,
        tier: registration.tier,
    };
    let origin = origin.clone();
    transaction(db.writer(), move |tx| {
        let (new, origin) = (new.clone(), origin.clone());
        Box::pin(async move {
            let member = accounts::open(tx, new, origin.at).await?;
            let session = sessions::begin(tx, member.user.id, rules, origin.at).await?;
            let change = Change::new("account.open", "account", member.account.id)
                .by(member.user.id)
                .of(member.account.id)
                .after(serde_json::json!({ "name": member.account.name, "tier": member.account.tier }));
            audit::record(tx, change, &origin).await?;
            Ok((member, session))
        })
    })
    .await
}

/// Signs somebody in. An unknown address takes as long as a wrong password and fails with the same error.
///
/// # Errors
///
/// [`DomainError::InvalidCredentials`].
pub async fn sign_in(
    db: &Database,
    passwords: &Passwords,
    rules: SessionRules,
    email: &str,
    password: Secret,
    origin: &Origin,
) -> Result<(Member, OpenSession), DomainError> {
    let user = accounts::user_by_email(db.reader(), email).await?;
    let stored = user.as_ref().map(|user| user.password_hash.0.clone());
    let fits = passwords.verify(password, stored).await?;
    let Some(user) = user.filter(|_| fits) else {
        return Err(DomainError::InvalidCredentials);
    };
    let origin = origin.clone();
    transaction(db.writer(), move |tx| {
        let origin = origin.clone();
        Box::pin(async move {
            let member = Member::find(tx, user.id).await.map_err(|error| match error {
                DomainError::SessionOver => DomainError::InvalidCredentials,
                other => other,
            })?;
            let session = sessions::begin(tx, user.id, rules, origin.at).await?;
            let change = Change::new("session.begin", "session", session.id)
                .by(user.id)
                .of(member.account.id);
            audit::record(tx, change, &origin).await?;
            Ok((member, session))
        })
    })
    .await
}
