//! API keys of an account.

mod body;
mod check;
mod view;

use std::time::Duration;

use hm_metering::KeyId;
use salvo::Writer;
use salvo::oapi::endpoint;
use salvo::oapi::extract::PathParam;
use salvo::writing::Json;

pub use self::body::{KeyBody, KeyPatchBody, RateLimitBody, RotateBody};
pub use self::check::{CheckBody, DecisionView, PrincipalView, verify};
pub use self::view::{IssuedKeyView, KeyList, KeyView};

use super::paging::Paging;
use super::respond::{Created, NoContent};
use crate::app::App;
use crate::database::in_task;
use crate::domain::DomainError;
use crate::domain::audit::Origin;
use crate::domain::permission::Action;
use crate::error::AppError;
use crate::extract::{Caller, Client, JsonBody, OptionalJsonBody};

/// Makes a key. It is shown in this answer and never again.
#[endpoint(tags("keys"), operation_id = "createKey")]
pub async fn create(
    app: App,
    client: Client,
    caller: Caller,
    body: JsonBody<KeyBody>,
) -> Result<Created<IssuedKeyView>, AppError> {
    caller.require(Action::ManageKeys)?;
    let origin = origin(&app, client);
    let wish = body.0.into_wish(origin.at)?;
    in_task(async move { app.keys().issue(&caller.member, wish, &origin).await })
        .await
        .map(|(key, record)| Created(IssuedKeyView::new(&key, record)))
}

/// The account's keys, active and past, newest first. Never the keys themselves.
#[endpoint(tags("keys"), operation_id = "listKeys")]
pub async fn list(app: App, caller: Caller, page: Paging) -> Result<Json<KeyList>, AppError> {
    caller.require(Action::ReadKeys)?;
    in_task(async move { app.keys().list(&caller.member, &page.0).await })
        .await
        .map(|page| Json(page.into()))
}

/// One key.
#[endpoint(tags("keys"), operation_id = "getKey")]
pub async fn show(app: App, caller: Caller, key_id: PathParam<String>) -> Result<Json<KeyView>, AppError> {
    caller.require(Action::ReadKeys)?;
    let key = parse_id(&key_id)?;
    in_task(async move { app.keys().get(&caller.member, key).await })
        .await
        .map(|record| Json(record.into()))
}

/// Renames a key, changes its scopes, its networks, its rate, its end or its facts, switches it off or on. Holds from the next request on.
#[endpoint(tags("keys"), operation_id = "updateKey")]
pub async fn update(
    app: App,
    client: Client,
    caller: Caller,
    key_id: PathParam<String>,
    body: JsonBody<KeyPatchBody>,
) -> Result<Json<KeyView>, AppError> {
    caller.require(Action::ManageKeys)?;
    let key = parse_id(&key_id)?;
    let origin = origin(&app, client);
    let patch = body.0.into_patch(origin.at)?;
    in_task(async move { app.keys().change(&caller.member, key, patch, &origin).await })
        .await
        .map(|record| Json(record.into()))
}

/// Revokes a key for good. It is refused from then on. Doing it again changes nothing.
#[endpoint(tags("keys"), operation_id = "revokeKey")]
pub async fn revoke(
    app: App,
    client: Client,
    caller: Caller,
    key_id: PathParam<String>,
) -> Result<NoContent, AppError> {
    caller.require(Action::ManageKeys)?;
    let key = parse_id(&key_id)?;
    let origin = origin(&app, client);
    in_task(async move { app.keys().revoke(&caller.member, key, &origin).await })
        .await
        .map(|()| NoContent)
}

/// Makes a new key in place of one, which works until the overlap ends.
#[endpoint(tags("keys"), operation_id = "rotateKey")]
pub async fn rotate(
    app: App,
    client: Client,
    caller: Caller,
    key_id: PathParam<String>,
    body: OptionalJsonBody<RotateBody>,
) -> Result<Created<IssuedKeyView>, AppError> {
    caller.require(Action::ManageKeys)?;
    let key = parse_id(&key_id)?;
    let overlap = body.0.map_or(Ok(Duration::ZERO), |body| body.overlap())?;
    let origin = origin(&app, client);
    in_task(async move { app.keys().rotate(&caller.member, key, overlap, &origin).await })
        .await
        .map(|(key, record)| Created(IssuedKeyView::new(&key, record)))
}

/// What is no id belongs to nobody, as an unknown one does.
fn parse_id(text: &str) -> Result<KeyId, AppError> {
    text.parse().map_err(|_| DomainError::NotFound.into())
}

fn origin(app: &App, client: Client) -> Origin {
    Origin {
        request_id: client.request_id,
        at: app.clock().now(),
    }
}
