//! The native face for Salvo: a handler to be hooped before the handlers that it meters.
//!
//! [`MeteringLayer`] works in Salvo through its Tower adapter too. That adapter puts a buffer and a task between the two,
//! which costs about a third of the throughput, and turns Salvo's own error pages into empty bodies. This handler has
//! neither fault.
//!
//! ```
//! # use hm_metering::Meter;
//! # use salvo_core::prelude::*;
//! #[handler]
//! async fn data() -> &'static str {
//!     "facts"
//! }
//!
//! fn router(meter: &Meter) -> Router {
//!     Router::with_path("data").hoop(meter.layer("data.query").hoop()).get(data)
//! }
//! ```

use std::fmt;
use std::net::IpAddr;

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED};
use http_body_util::BodyExt;
use salvo_core::conn::SocketAddr;
use salvo_core::http::ResBody;
use salvo_core::{BoxedError, Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::client_address::PeerAddress;
use crate::layer::{Before, MeteredBody, MeteringLayer, before, put_charge};
use crate::meter::{Admission, Admit, Call, Rejection, RequestId};
use crate::rate_layer::RateLimitLayer;
use crate::refusal::Refusal;
use crate::usage::Outcome;

/// Meters the handlers behind it; made by [`MeteringLayer::hoop`]. Put it on routers, not on the service: what matches no
/// route is then not metered.
#[derive(Clone)]
pub struct MeteringHoop(MeteringLayer);

impl MeteringLayer {
    /// The same as a Salvo handler.
    #[must_use]
    pub const fn hoop(self) -> MeteringHoop {
        MeteringHoop(self)
    }
}

#[async_trait]
impl Handler for MeteringHoop {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let outer = match before(req.extensions(), self.0.meter()) {
            Before::Nothing => None,
            Before::Other(id) => Some(id),
            Before::Ours(charge) => {
                match self.0.check_again(charge, (req.method(), req.headers())) {
                    Ok(()) => {
                        ctrl.call_next(req, depot, res).await;
                    }
                    Err(rejection) => {
                        refuse(&rejection, res);
                        ctrl.skip_rest();
                    }
                }
                return;
            }
        };
        let decision = match self.admit(req, outer.as_ref()) {
            Admit::Ready(decision) => decision,
            Admit::Pending(decision) => decision.await,
        };
        match decision {
            Ok(admission) => serve(admission, req, depot, res, ctrl).await,
            Err(rejection) => {
                refuse(&rejection, res);
                ctrl.skip_rest();
            }
        }
    }
}

impl MeteringHoop {
    /// `outer` is the request's id where another meter has given it one.
    fn admit(&self, req: &Request, outer: Option<&RequestId>) -> Admit {
        let template = match req.matched_path() {
            "" => String::new(),
            path => format!("/{path}"),
        };
        let endpoint = if template.is_empty() {
            req.uri().path()
        } else {
            &template
        };
        let mut call = Call::new(req.method(), req.headers(), endpoint).with_extensions(req.extensions());
        if let Some(peer) = peer(req.remote_addr()) {
            call = call.with_peer(peer);
        }
        if let Some(RequestId(id)) = outer.or_else(|| req.extensions().get::<RequestId>()) {
            call = call.with_request_id(id);
        }
        self.0.meter().admit(self.0.operation(), call)
    }
}

async fn serve(
    mut admission: Admission,
    req: &mut Request,
    depot: &mut Depot,
    res: &mut Response,
    ctrl: &mut FlowCtrl,
) {
    put_charge(req.extensions_mut(), admission.charge());
    admission.handler_called();
    // A panic in a handler unwinds through this future, which `Admission` notices by itself.
    ctrl.call_next(req, depot, res).await;
    admission.reserved().await;
    if admission.is_stopped() {
        if let Some(rejection) = admission.reject() {
            // Those of the answer that the handler had in mind.
            for name in [CONTENT_ENCODING, CONTENT_RANGE, ETAG, LAST_MODIFIED] {
                res.headers_mut().remove(name);
            }
            refuse(&rejection, res);
            ctrl.skip_rest();
        }
        return;
    }
    if let Some(refusal) = res.extensions.get::<Refusal>().cloned() {
        admission.refused(&refusal, res.headers_mut());
        return;
    }
    let status = status(res);
    admission.answered(status);
    admission.note_trailers(res.headers());
    admission.write_headers(res.headers_mut());
    match res.take_body() {
        // Everything is here already: nothing can go wrong with it on our side any more.
        body @ (ResBody::None | ResBody::Once(_) | ResBody::Chunks(_) | ResBody::Error(_)) => {
            if !admission.is_bodiless() {
                admission.sent_last(body.size().unwrap_or(0));
            }
            res.replace_body(body);
            admission.finish(Outcome::Completed);
        }
        body => {
            let body = MeteredBody::inner(body, res.headers(), admission);
            res.replace_body(ResBody::Boxed(Box::pin(body.map_err(BoxedError::from))));
        }
    }
}

/// The status that the client will see. Salvo decides it after all handlers where none did.
fn status(res: &Response) -> StatusCode {
    match (res.status_code, &res.body) {
        (Some(status), _) => status,
        (None, ResBody::Error(error)) => error.code,
        (None, ResBody::None) => StatusCode::NOT_FOUND,
        (None, _) => StatusCode::OK,
    }
}

fn refuse(rejection: &Rejection, res: &mut Response) {
    let body = rejection.body();
    res.status_code(rejection.status());
    rejection.write_headers(&body, res.headers_mut());
    rejection.write_extensions(&mut res.extensions);
    res.replace_body(ResBody::Once(body));
}

/// Limits how often a client address may call the handlers behind it; made by [`RateLimitLayer::hoop`].
#[derive(Clone, Debug)]
pub struct RateLimitHoop(RateLimitLayer);

impl RateLimitLayer {
    /// The same as a Salvo handler.
    #[must_use]
    pub const fn hoop(self) -> RateLimitHoop {
        RateLimitHoop(self)
    }
}

#[async_trait]
impl Handler for RateLimitHoop {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let request_id = || crate::rate_layer::request_id(req.extensions());
        let peer = req
            .extensions()
            .get::<PeerAddress>()
            .map(|peer| peer.0)
            .or_else(|| peer(req.remote_addr()));
        if let Err(rejection) = self.0.check(peer, (req.method(), req.headers()), request_id) {
            refuse(&rejection, res);
            ctrl.skip_rest();
        }
    }
}

fn peer(address: &SocketAddr) -> Option<IpAddr> {
    match address {
        SocketAddr::IPv4(address) => Some(IpAddr::V4(*address.ip())),
        SocketAddr::IPv6(address) => Some(IpAddr::V6(*address.ip())),
        _ => None,
    }
}

impl fmt::Debug for MeteringHoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MeteringHoop").field(&self.0).finish()
    }
}
