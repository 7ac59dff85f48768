//! Sessions: begun by signing in, kept alive by refresh tokens, ended by signing out or by a token used twice.

use std::time::Duration;

use hm_metering::Timestamp;
use hm_metering_seaorm::transaction;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr,
    EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Set,
};
use uuid::Uuid;

use super::DomainError;
use super::audit::{self, Change, Origin};
use crate::auth::RefreshToken;
use crate::config::AuthConfig;
use crate::entity::{refresh_token, session};

/// How long sessions last and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct SessionRules {
    /// How long a session lasts without being refreshed.
    pub ttl: Duration,
    /// Sessions a person may have open.
    pub most: u64,
}

impl From<&AuthConfig> for SessionRules {
    fn from(config: &AuthConfig) -> Self {
        Self {
            ttl: config.refresh_token_ttl,
            most: config.max_sessions,
        }
    }
}

/// A session and the token that will refresh it next.
#[derive(Debug)]
pub struct OpenSession {
    /// The session.
    pub id: Uuid,
    /// Who signed in.
    pub user_id: Uuid,
    /// To be shown once.
    pub refresh_token: RefreshToken,
}

/// Begins a session. The oldest ones of the person make room if there are too many; those that have expired go.
///
/// # Errors
///
/// The database fails.
pub async fn begin(
    tx: &impl ConnectionTrait,
    user_id: Uuid,
    rules: SessionRules,
    now: Timestamp,
) -> Result<OpenSession, DomainError> {
    let at = now.as_micros();
    session::Entity::delete_many()
        .filter(
            session::Column::UserId
                .eq(user_id)
                .and(session::Column::ExpiresAt.lte(at)),
        )
        .exec(tx)
        .await?;
    let too_old: Vec<Uuid> = session::Entity::find()
        .select_only()
        .column(session::Column::Id)
        .filter(
            session::Column::UserId
                .eq(user_id)
                .and(session::Column::EndedAt.is_null()),
        )
        .order_by_desc(session::Column::CreatedAt)
        .order_by_desc(session::Column::Id)
        .offset(rules.most.saturating_sub(1))
        .limit(1000)
        .into_tuple()
        .all(tx)
        .await?;
    if !too_old.is_empty() {
        end_where(tx, session::Column::Id.is_in(too_old), now).await?;
    }
    let session = session::ActiveModel {
        id: Set(Uuid::now_v7()),
        user_id: Set(user_id),
        created_at: Set(at),
        expires_at: Set(now.plus(rules.ttl).as_micros()),
        ended_at: Set(None),
    };
    let session = session.insert(tx).await?;
    let refresh_token = issue(tx, session.id, now).await?;
    Ok(OpenSession {
        id: session.id,
        user_id,
        refresh_token,
    })
}

/// Exchanges a token for the next one. Of two that come with the same token at the same time, one gets it.
///
/// # Errors
///
/// [`DomainError::InvalidRefreshToken`] for a token that is unknown, expired, or was used before. In the last case the
/// session ends: the token may be stolen, and we can't tell which of the two is the thief.
pub async fn refresh(
    db: &DatabaseConnection,
    token: &RefreshToken,
    rules: SessionRules,
    origin: &Origin,
) -> Result<OpenSession, DomainError> {
    let (digest, origin) = (token.digest(), origin.clone());
    let exchanged = transaction(db, move |tx| {
        let (digest, origin) = (digest.clone(), origin.clone());
        Box::pin(async move { exchange(tx, digest, rules, &origin).await })
    });
    exchanged.await?.ok_or(DomainError::InvalidRefreshToken)
}

/// The session goes on with another token; `None` when it has just been ended, which must be kept.
async fn exchange(
    tx: &DatabaseTransaction,
    digest: String,
    rules: SessionRules,
    origin: &Origin,
) -> Result<Option<OpenSession>, DomainError> {
    let now = origin.at;
    // The update decides: only one of several can turn the token from unused to used.
    let taken = refresh_token::Entity::update_many()
        .col_expr(refresh_token::Column::UsedAt, Expr::value(now.as_micros()))
        .filter(
            refresh_token::Column::Digest
                .eq(digest.as_str())
                .and(refresh_token::Column::UsedAt.is_null()),
        )
        .exec(tx)
        .await?
        .rows_affected;
    let stored = refresh_token::Entity::find_by_id(digest).one(tx).await?;
    let stored = stored.ok_or(DomainError::InvalidRefreshToken)?;
    if taken == 0 {
        let ended = end_where(tx, session::Column::Id.eq(stored.session_id), now).await?;
        if ended > 0 {
            tracing::warn!(session.id = %stored.session_id, "a refresh token was used twice: the session is over");
            audit::record(
                tx,
                Change::new("session.reuse", "session", stored.session_id),
                origin,
            )
            .await?;
        }
        return Ok(None);
    }
    let extended = session::Entity::update_many()
        .col_expr(
            session::Column::ExpiresAt,
            Expr::value(now.plus(rules.ttl).as_micros()),
        )
        .filter(is_live(now).and(session::Column::Id.eq(stored.session_id)))
        .exec(tx)
        .await?
        .rows_affected;
    let session = session::Entity::find_by_id(stored.session_id).one(tx).await?;
    let session = session
        .filter(|_| extended > 0)
        .ok_or(DomainError::InvalidRefreshToken)?;
    let refresh_token = issue(tx, session.id, now).await?;
    Ok(Some(OpenSession {
        id: session.id,
        user_id: session.user_id,
        refresh_token,
    }))
}

/// The session that a refresh token belongs to, whether used or not.
///
/// # Errors
///
/// The database fails.
pub async fn of_token(
    db: &impl ConnectionTrait,
    token: &RefreshToken,
) -> Result<Option<session::Model>, DbErr> {
    let Some(stored) = refresh_token::Entity::find_by_id(token.digest()).one(db).await? else {
        return Ok(None);
    };
    session::Entity::find_by_id(stored.session_id).one(db).await
}

/// Whether the session is this person's and goes on.
///
/// # Errors
///
/// The database fails.
pub async fn goes_on(
    db: &impl ConnectionTrait,
    session_id: Uuid,
    user_id: Uuid,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let session = session::Entity::find_by_id(session_id)
        .filter(is_live(now).and(session::Column::UserId.eq(user_id)))
        .one(db)
        .await?;
    Ok(session.is_some())
}

/// Ends one session of a person; one that has ended stays as it is.
///
/// # Errors
///
/// The database fails.
pub async fn end(
    db: &DatabaseConnection,
    session_id: Uuid,
    user_id: Uuid,
    origin: &Origin,
) -> Result<(), DomainError> {
    let own = session::Column::Id
        .eq(session_id)
        .and(session::Column::UserId.eq(user_id));
    end_and_audit(
        db,
        own,
        Change::new("session.end", "session", session_id).by(user_id),
        origin,
    )
    .await
}

/// Ends all sessions of a person.
///
/// # Errors
///
/// The database fails.
pub async fn end_all(db: &DatabaseConnection, user_id: Uuid, origin: &Origin) -> Result<(), DomainError> {
    let own = session::Column::UserId.eq(user_id);
    end_and_audit(
        db,
        own,
        Change::new("session.end_all", "user", user_id).by(user_id),
        origin,
    )
    .await
}

async fn end_and_audit(
    db: &DatabaseConnection,
    which: sea_orm::sea_query::SimpleExpr,
    change: Change,
    origin: &Origin,
) -> Result<(), DomainError> {
    let origin = origin.clone();
    transaction(db, move |tx| {
        let (which, change, origin) = (which.clone(), change.clone(), origin.clone());
        Box::pin(async move {
            if end_where(tx, which, origin.at).await? > 0 {
                audit::record(tx, change, &origin).await?;
            }
            Ok(())
        })
    })
    .await
}

async fn end_where(
    tx: &impl ConnectionTrait,
    which: sea_orm::sea_query::SimpleExpr,
    now: Timestamp,
) -> Result<u64, DbErr> {
    let ended = session::Entity::update_many()
        .col_expr(session::Column::EndedAt, Expr::value(now.as_micros()))
        .filter(which.and(session::Column::EndedAt.is_null()))
        .exec(tx)
        .await?;
    Ok(ended.rows_affected)
}

fn is_live(now: Timestamp) -> sea_orm::sea_query::SimpleExpr {
    session::Column::EndedAt
        .is_null()
        .and(session::Column::ExpiresAt.gt(now.as_micros()))
}

async fn issue(
    tx: &impl ConnectionTrait,
    session_id: Uuid,
    now: Timestamp,
) -> Result<RefreshToken, DomainError> {
    let token = RefreshToken::generate()?;
    let row = refresh_token::ActiveModel {
        digest: Set(token.digest()),
        session_id: Set(session_id),
        created_at: Set(now.as_micros()),
        used_at: Set(None),
    };
    row.insert(tx).await?;
    Ok(token)
}
