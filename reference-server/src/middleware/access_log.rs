//! One line in the log for each request, and a span that names the request in every other line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hm_metering::Clock;
use salvo::http::StatusCode;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use tracing::Instrument;

use crate::middleware::request_id::request_id;

/// Logs method, route, status, duration and name of each request: no query, no header, no body.
pub struct AccessLog(Arc<dyn Clock>);

impl AccessLog {
    /// Takes durations from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self(clock)
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AccessLog").finish()
    }
}

#[async_trait]
impl Handler for AccessLog {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let id = request_id(req).to_owned();
        let span = tracing::info_span!("request", request.id = id);
        let began = self.0.monotonic();
        ctrl.call_next(req, depot, res).instrument(span).await;
        tracing::info!(
            target: "hm_server::access",
            {
                http.method = req.method().as_str(),
                http.route = route(req),
                http.status = res.status_code.unwrap_or(StatusCode::OK).as_u16(),
                duration_ms = millis(self.0.monotonic().saturating_sub(began)),
                request.id = id,
            },
            "request answered"
        );
    }
}

/// The pattern that matched; a path that matched nothing is not told, it may hold anything.
pub(super) fn route(req: &Request) -> String {
    match req.matched_path() {
        "" => "(none)".to_owned(),
        path => format!("/{path}"),
    }
}

fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
