//! What was counted, for those who watch over the server.

use std::net::{IpAddr, Ipv4Addr};

use hm_metering::{Refusal, RefusalKind};
use salvo::http::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use salvo::http::{HeaderMap, ResBody};
use salvo::oapi::endpoint;
use salvo::{Request, Response, Writer};

use crate::app::App;
use crate::error::AppError;
use crate::extract::client_address;

/// The text format of Prometheus.
const FORMAT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Counters for Prometheus, in its text format. Only for clients in the networks of `http.metrics_networks`.
#[endpoint(
    tags("health"),
    operation_id = "metrics",
    responses((status_code = 200, description = "Counters, in the text format of Prometheus", content_type = "text/plain"))
)]
pub async fn show(app: App, req: &mut Request, res: &mut Response) -> Result<(), AppError> {
    if !may_see(&app, req) {
        let refusal = Refusal::new(RefusalKind::AddressNotAllowed);
        return Err(AppError::forbidden(
            refusal.code(),
            "Metrics are told to the networks in `http.metrics_networks` only.",
        ));
    }
    res.headers_mut().insert(CONTENT_TYPE, FORMAT);
    res.replace_body(ResBody::Once(app.metrics().render().into()));
    Ok(())
}

/// Whether the client's address is one of those that may. A request that says it was passed on, by somebody who is not
/// among the trusted proxies, comes from anywhere; and so does one of a page in somebody's browser.
fn may_see(app: &App, req: &Request) -> bool {
    let http = &app.config().http;
    // A request without a network address comes from a local socket.
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let peer = req
        .remote_addr()
        .ip()
        .map_or(here, |address| address.to_canonical());
    let client = client_address(req, &http.trusted_proxies).map_or(here, |address| address.to_canonical());
    let is_unexplained = client == peer && is_passed_on(req.headers());
    let is_of_page = req.headers().contains_key(ORIGIN);
    !is_unexplained
        && !is_of_page
        && http
            .metrics_networks
            .iter()
            .any(|network| network.contains(&client))
}

fn is_passed_on(headers: &HeaderMap) -> bool {
    ["x-forwarded-for", "forwarded", "x-real-ip"]
        .iter()
        .any(|name| headers.contains_key(*name))
}
