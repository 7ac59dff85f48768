//! Whether the server is alive, and whether it can work.

use std::time::Duration;

use salvo::Writer;
use salvo::http::StatusCode;
use salvo::oapi::{ToSchema, endpoint};
use salvo::writing::Json;
use serde::Serialize;

use crate::app::App;
use crate::error::AppError;

const DATABASE_DEADLINE: Duration = Duration::from_secs(2);

/// The answer of a server that is well.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    status: String,
}

impl Health {
    fn ok() -> Json<Self> {
        Json(Self {
            status: "ok".to_owned(),
        })
    }
}

/// The process is alive. Asks nothing else.
#[endpoint(tags("health"), operation_id = "healthz")]
pub async fn alive() -> Json<Health> {
    Health::ok()
}

/// The server can do its work: the database answers.
#[endpoint(tags("health"), operation_id = "readyz")]
pub async fn ready(app: App) -> Result<Json<Health>, AppError> {
    match app.database().ping(DATABASE_DEADLINE).await {
        Ok(()) => Ok(Health::ok()),
        Err(error) => {
            let detail = "The database does not answer.";
            Err(AppError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail).because(error))
        }
    }
}
