//! Counts requests by route and kind of answer.

use std::fmt;
use std::sync::Arc;

use hm_metering::Clock;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use salvo::http::{Method, StatusCode};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::middleware::access_log::route;

const REQUESTS: &str = "hm_server_requests_total";
const SECONDS: &str = "hm_server_response_seconds";

/// Counts every request, whoever answers it. All labels are words of this program: routes as they are declared, methods
/// that it knows, and the first digit of the status.
pub struct CountRequests(Arc<dyn Clock>);

impl CountRequests {
    /// Takes durations from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        describe_counter!(REQUESTS, "Requests that were answered");
        describe_histogram!(
            SECONDS,
            Unit::Seconds,
            "From a request's arrival to the head of its response"
        );
        Self(clock)
    }
}

impl fmt::Debug for CountRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CountRequests").finish()
    }
}

#[async_trait]
impl Handler for CountRequests {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let began = self.0.monotonic();
        ctrl.call_next(req, depot, res).await;
        let (route, took) = (route(req), self.0.monotonic().saturating_sub(began));
        let (method, status) = (method(req.method()), status(res.status_code));
        counter!(REQUESTS, "route" => route.clone(), "method" => method, "status" => status).increment(1);
        histogram!(SECONDS, "route" => route).record(took.as_secs_f64());
    }
}

/// A client may send any word as a method.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status(status: Option<StatusCode>) -> &'static str {
    match status.unwrap_or(StatusCode::OK).as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
