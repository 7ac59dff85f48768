//! The person who asks.

use salvo::Writer;
use salvo::oapi::{ToSchema, endpoint};
use salvo::writing::Json;
use serde::Deserialize;

use super::errors::Mistakes;
use super::views::MeView;
use crate::app::App;
use crate::database::in_task;
use crate::domain::audit::Origin;
use crate::domain::names;
use crate::error::AppError;
use crate::extract::{Caller, Client, JsonBody};

/// What may be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct MePatch {
    /// At most 100 characters.
    #[serde(default)]
    name: Option<String>,
}

/// The person who asks, and the account they act for.
#[endpoint(tags("me"), operation_id = "getMe")]
pub async fn show(app: App, caller: Caller) -> Result<Json<MeView>, AppError> {
    Ok(Json(MeView::new(caller.member, app.clock().now())))
}

/// Changes the profile of the person who asks.
#[endpoint(tags("me"), operation_id = "updateMe")]
pub async fn update(
    app: App,
    client: Client,
    caller: Caller,
    body: JsonBody<MePatch>,
) -> Result<Json<MeView>, AppError> {
    let mut mistakes = Mistakes::default();
    let name = mistakes
        .check("name", body.0.name.as_deref().map(names::name).transpose())
        .flatten();
    mistakes.finish()?;
    let now = app.clock().now();
    let Some(name) = name else {
        return Ok(Json(MeView::new(caller.member, now)));
    };
    let origin = Origin {
        request_id: client.request_id,
        at: now,
    };
    let database = app.database().clone();
    let member = in_task(async move { caller.member.rename(database.writer(), name, &origin).await }).await?;
    Ok(Json(MeView::new(member, now)))
}
