//! Every route on one screen.

use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};

use crate::api::docs::{Document, Page};
use crate::api::{auth, health, me};

/// Routes that the OpenAPI document describes.
pub(crate) fn described() -> Router {
    Router::new()
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
        .push(Router::with_path("api/v1").push(sign_in()).push(people()))
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

fn sign_in() -> Router {
    Router::with_path("auth")
        .push(Router::with_path("register").post(auth::register))
        .push(Router::with_path("login").post(auth::login))
        .push(Router::with_path("refresh").post(auth::refresh))
        .push(Router::with_path("logout").post(auth::logout))
        .push(Router::with_path("logout-all").post(auth::logout_all))
}

fn people() -> Router {
    Router::with_path("me")
        .get(me::show)
        .head(HeadOf(me::show))
        .patch(me::update)
}

/// Answers `HEAD` as the handler answers `GET`; the framework leaves the body out. It is not in the OpenAPI document.
struct HeadOf<H>(H);

#[async_trait]
impl<H: Handler> Handler for HeadOf<H> {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        self.0.handle(req, depot, res, ctrl).await;
    }
}
