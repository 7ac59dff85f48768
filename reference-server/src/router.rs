//! Every route on one screen.

use std::sync::Arc;
use std::time::Duration;

use hm_metering::RateLimitLayer;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};

use crate::api::describe::Describe;
use crate::api::docs::{Document, Page};
use crate::api::{auth, data, health, keys, me, metrics, usage};
use crate::app::App;
use crate::middleware::demo::Metered;
use crate::middleware::timeout::TimeLimit;

/// Routes that the OpenAPI document describes.
pub(crate) fn described(app: &App) -> Router {
    let limit = TimeLimit(app.config().http.request_timeout);
    let limited = Router::new()
        .hoop(limit)
        .push(
            Router::with_path("healthz")
                .get(health::alive)
                .head(HeadOf(health::alive)),
        )
        .push(
            Router::with_path("readyz")
                .get(health::ready)
                .head(HeadOf(health::ready)),
        )
        .push(
            Router::with_path("metrics")
                .get(metrics::show)
                .head(HeadOf(metrics::show)),
        )
        .push(
            Router::with_path("api/v1")
                .push(sign_in(app))
                .push(people())
                .push(api_keys())
                .push(reports()),
        );
    Router::new()
        .push(limited)
        .push(Router::with_path("api/v1").push(metered(app, limit)))
}

/// Routes about the API itself.
pub(crate) fn documentation(document: Document) -> Router {
    Router::new()
        .push(
            Router::with_path("openapi.json")
                .get(document.clone())
                .head(document),
        )
        .push(Router::with_path("docs").get(Page).head(Page))
        .push(Router::with_path("docs/{**file}").get(Page).head(Page))
}

fn sign_in(app: &App) -> Router {
    let minute = RateLimitLayer::new(app.config().auth.login.burst_per_minute, Duration::from_secs(60));
    let limited = Router::new()
        .hoop(by_address(app, minute).hoop())
        .push(Router::with_path("register").post(auth::register))
        .push(Router::with_path("login").post(auth::login))
        .push(Router::with_path("refresh").post(auth::refresh));
    Router::with_path("auth")
        .push(limited)
        .push(Router::with_path("logout").post(auth::logout))
        .push(Router::with_path("logout-all").post(auth::logout_all))
}

fn people() -> Router {
    Router::with_path("me")
        .get(me::show)
        .head(HeadOf(me::show))
        .patch(me::update)
}

fn api_keys() -> Router {
    let all = Describe {
        summary: "API keys of the account",
        methods: "GET, HEAD, POST, OPTIONS",
        authentication: &["accessToken"],
    };
    let one = Router::with_path("{key_id}")
        .get(keys::show)
        .head(HeadOf(keys::show))
        .patch(keys::update)
        .delete(keys::revoke)
        .push(Router::with_path("rotate").post(keys::rotate));
    Router::with_path("keys")
        .get(keys::list)
        .head(HeadOf(keys::list))
        .post(keys::create)
        .options(all)
        .push(Router::with_path("verify").post(keys::verify))
        .push(one)
}

fn reports() -> Router {
    let description = Describe {
        summary: "Quota and latest requests of the account",
        methods: "GET, HEAD, OPTIONS",
        authentication: &["accessToken", "apiKey"],
    };
    Router::with_path("usage")
        .get(usage::show)
        .head(HeadOf(usage::show))
        .options(description)
}

/// What costs units: the engine of `hm-metering` decides before the handlers see anything.
fn metered(app: &App, limit: TimeLimit) -> Router {
    let description = Describe {
        summary: "Questions to data sources, metered",
        methods: "GET, POST, OPTIONS",
        authentication: &["apiKey"],
    };
    let metering = Metered::new(app.meter().layer("data.query"))
        .with_demo(app.config().demo.daily_quota, |limit| by_address(app, limit));
    Router::with_path("data")
        .options(description)
        // The time limit is inside of the metering, so that the answer it gives is not charged.
        .push(
            Router::new()
                .hoop(metering)
                .hoop(limit)
                .get(data::query)
                .post(data::ask),
        )
}

fn by_address(app: &App, limit: RateLimitLayer) -> RateLimitLayer {
    limit
        .trusted_proxies(app.config().http.trusted_proxies.clone())
        .clock(Arc::clone(app.clock()))
}

/// Answers `HEAD` as the handler answers `GET`; the framework leaves the body out. It is not in the OpenAPI document.
struct HeadOf<H>(H);

#[async_trait]
impl<H: Handler> Handler for HeadOf<H> {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        self.0.handle(req, depot, res, ctrl).await;
    }
}
