//! The person behind an access token.

use std::fmt::Debug;

use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{Components, EndpointArgRegister, Operation, SecurityRequirement};
use salvo::{Depot, Request, Writer};
use uuid::Uuid;

use super::bearer_token;
use crate::app::App;
use crate::database::in_task;
use crate::domain::permission::{Action, may};
use crate::domain::{DomainError, Member, sessions};
use crate::error::AppError;

/// Somebody who is signed in, and the account they act for. The session was alive when the request came.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The person, the account, and the person's role there.
    pub member: Member,
    /// The session.
    pub session_id: Uuid,
}

impl Caller {
    /// The person whom an access token stands for.
    ///
    /// # Errors
    ///
    /// 401 for a token that is not ours, has expired, or whose session is over.
    pub async fn of_token(app: &App, token: &str) -> Result<Self, AppError> {
        let now = app.clock().now();
        let Some(identity) = app.tokens().verify(token, now) else {
            return Err(invalid_token());
        };
        let database = app.database().clone();
        in_task(async move {
            let db = database.reader();
            if !sessions::goes_on(db, identity.session_id, identity.user_id, now).await? {
                return Err(DomainError::SessionOver);
            }
            let member = Member::find(db, identity.user_id).await?;
            Ok(Self {
                member,
                session_id: identity.session_id,
            })
        })
        .await
    }

    /// Refuses what the person's role does not allow.
    ///
    /// # Errors
    ///
    /// 403.
    pub fn require(&self, action: Action) -> Result<(), AppError> {
        if may(self.member.role, action) {
            return Ok(());
        }
        Err(AppError::forbidden(
            "insufficient_role",
            "Your role in this account does not allow that.",
        ))
    }
}

/// 401 for an access token that does not count.
#[must_use]
pub fn invalid_token() -> AppError {
    AppError::unauthorized("invalid_token", "The access token is not valid or has expired.")
}

async fn authenticate(req: &Request, depot: &Depot) -> Result<Caller, AppError> {
    let app = App::of(depot)?;
    match bearer_token(req.headers())? {
        Some(token) => Caller::of_token(&app, token).await,
        None => Err(AppError::unauthorized(
            "missing_token",
            "Send an access token: `Authorization: Bearer <token>`.",
        )),
    }
}

impl<'ex> Extractible<'ex> for Caller {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        authenticate(req, depot).await
    }
}

impl EndpointArgRegister for Caller {
    fn register(_components: &mut Components, operation: &mut Operation, _arg: &str) {
        operation
            .securities
            .get_or_insert_default()
            .push(SecurityRequirement::new("accessToken", Vec::<String>::new()));
    }
}
