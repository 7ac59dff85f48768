//! Whoever may read an account's usage: a person with an access token, or a machine with an API key.

use std::fmt::Debug;

use hm_metering::keys::InvalidKey;
use hm_metering::{KeyVerifier, PresentedKey, Principal, Refusal, RefusalKind};
use hm_metering_seaorm::entity::account;
use salvo::extract::{Extractible, Metadata};
use salvo::http::{HeaderMap, StatusCode};
use salvo::oapi::{Components, EndpointArgRegister, Operation, SecurityRequirement};
use salvo::{Depot, Request, Writer};
use uuid::Uuid;

use super::client::client_address;
use super::{Caller, bearer_token};
use crate::app::App;
use crate::database::in_task;
use crate::domain::accounts::open_account;
use crate::domain::permission::Action;
use crate::error::AppError;

/// An account whose usage may be read, and who reads it.
#[derive(Clone, Debug)]
pub struct UsageReader {
    /// The account.
    pub account: account::Model,
    /// The person who asks, or who made the key that asks.
    pub user_id: Option<Uuid>,
}

/// What a request carries.
pub(super) enum Credential<'a> {
    Token(&'a str),
    Key(&'a str),
}

impl UsageReader {
    async fn of(app: &App, req: &Request) -> Result<Self, AppError> {
        match credential(app, req.headers())? {
            Credential::Token(token) => {
                let caller = Caller::of_token(app, token).await?;
                caller.require(Action::ReadUsage)?;
                Ok(Self {
                    user_id: Some(caller.member.user.id),
                    account: caller.member.account,
                })
            }
            Credential::Key(key) => Self::of_key(app, &identify(app, req, key).await?).await,
        }
    }

    async fn of_key(app: &App, principal: &Principal) -> Result<Self, AppError> {
        let (app, id) = (app.clone(), principal.account().as_uuid());
        let user_id = principal.user().map(|user| user.as_uuid());
        in_task(async move {
            let account = open_account(app.database().reader(), id)
                .await
                .map_err(crate::domain::DomainError::from)?
                .ok_or_else(invalid_key)?;
            Ok::<_, AppError>(Self { account, user_id })
        })
        .await
    }
}

/// The one access token or API key of a request.
pub(super) fn credential<'a>(app: &App, headers: &'a HeaderMap) -> Result<Credential<'a>, AppError> {
    let mut keys = headers.get_all("x-api-key").iter();
    let bearer = bearer_token(headers)?;
    match (keys.next(), keys.next(), bearer) {
        (None, _, None) => Err(AppError::unauthorized(
            "missing_token",
            "Send an access token or an API key.",
        )),
        (None, _, Some(token)) if app.verifier().claims(token) => Ok(Credential::Key(token)),
        (None, _, Some(token)) => Ok(Credential::Token(token)),
        (Some(key), None, None) => key
            .to_str()
            .map(|key| Credential::Key(key.trim()))
            .map_err(|_| invalid_key()),
        _ => Err(AppError::bad_request(
            "ambiguous_credentials",
            "Send one access token or one API key.",
        )),
    }
}

/// Whom the API key of a request speaks for: from memory, and within the budget for unknown keys, as on metered routes.
pub(super) async fn identify(app: &App, req: &Request, key: &str) -> Result<Principal, AppError> {
    let client = client_address(req, &app.config().http.trusted_proxies);
    let identified = app.meter().identify(&PresentedKey::new(key), client).await;
    identified.map_err(|refusal| refused(&refusal))
}

fn refused(refusal: &Refusal) -> AppError {
    let (code, detail) = (refusal.code(), refusal.to_string());
    match refusal.status() {
        StatusCode::UNAUTHORIZED => AppError::unauthorized(code, detail),
        status => AppError::new(status, code, detail),
    }
}

/// The same words as on metered routes, where the engine says them.
fn invalid_key() -> AppError {
    refused(&Refusal::new(RefusalKind::InvalidKey(InvalidKey::Unknown)))
}

impl<'ex> Extractible<'ex> for UsageReader {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        match App::of(depot) {
            Ok(app) => Self::of(&app, req).await,
            Err(error) => Err(error),
        }
    }
}

impl EndpointArgRegister for UsageReader {
    fn register(_components: &mut Components, operation: &mut Operation, _arg: &str) {
        let either =
            ["accessToken", "apiKey"].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new()));
        operation.securities.get_or_insert_default().extend(either);
    }
}
