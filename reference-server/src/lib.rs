//! The reference server: accounts, API keys, exact quotas and usage over HTTP, built on the published crates.

#![forbid(unsafe_code)]

pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod database;
pub mod domain;
pub mod entity;
pub mod error;
pub mod explain;
pub mod extract;
pub mod jobs;
pub mod metrics;
pub mod middleware;
pub mod migration;
pub mod operator;
pub mod random;
mod router;
pub mod secret;
pub mod secrets;
pub mod serve;
pub mod sources;
pub mod telemetry;

use std::sync::Arc;

use hm_metering::id::IdSource;
use salvo::catcher::Catcher;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, Service, async_trait};

pub use app::App;

use crate::extract::BodyLimit;
use crate::middleware::access_log::AccessLog;
use crate::middleware::catch_panic::CatchPanics;
use crate::middleware::cors::Cors;
use crate::middleware::count::CountRequests;
use crate::middleware::not_served::RenderRefusals;
use crate::middleware::readable_target::RefuseUnreadableTargets;
use crate::middleware::request_id::NameRequests;
use crate::middleware::security_headers::SecurityHeaders;

/// Why there is no service.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The OpenAPI document can't be written.
    #[error("the description of the API can't be written")]
    Document(#[from] serde_json::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The whole HTTP service, used by the program and by tests alike.
///
/// # Errors
///
/// The OpenAPI document can't be written, or the system has no random numbers.
pub fn build_service(app: App) -> Result<Service, ServiceError> {
    let routes = router::described(&app);
    let document = api::docs::document(&routes)?;
    let router = Router::new().push(routes).push(router::documentation(document));
    let ids = IdSource::from_os().map_err(ServiceError::Random)?;
    let clock = Arc::clone(app.clock());
    let http = app.config().http.clone();
    Ok(Service::new(router)
        .catcher(Catcher::new(RenderRefusals))
        .hoop(NameRequests::new(ids, Arc::clone(&clock)))
        .hoop(AccessLog::new(Arc::clone(&clock)))
        .hoop(CountRequests::new(clock))
        .hoop(SecurityHeaders)
        .hoop(Cors::new(http.allowed_origins))
        .hoop(CatchPanics)
        .hoop(RefuseUnreadableTargets)
        .hoop(BodyLimit(http.body_limit_bytes))
        .hoop(Provide(app)))
}

/// Gives the application to the handlers.
struct Provide(App);

#[async_trait]
impl Handler for Provide {
    async fn handle(&self, _req: &mut Request, depot: &mut Depot, _res: &mut Response, _ctrl: &mut FlowCtrl) {
        depot.insert_typed(self.0.clone());
    }
}
