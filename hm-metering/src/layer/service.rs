//! The service that the layer makes.

use std::fmt;
use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::MeteringLayer;
use super::body::MeteredBody;
use super::future::{ResponseFuture, call};
use super::nested::{Before, before, put_charge};
use crate::meter::{Admission, Admit, Call, RequestId};

/// A service behind a [`MeteringLayer`].
#[derive(Clone)]
pub struct Metering<S> {
    inner: S,
    layer: MeteringLayer,
}

impl<S> Metering<S> {
    pub(super) const fn new(inner: S, layer: MeteringLayer) -> Self {
        Self { inner, layer }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for Metering<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<MeteredBody<ResB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqB>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let outer = match before(request.extensions(), self.layer.meter()) {
            Before::Nothing => None,
            Before::Other(id) => Some(id),
            Before::Ours(charge) => {
                return match self
                    .layer
                    .check_again(charge, (request.method(), request.headers()))
                {
                    Ok(()) => ResponseFuture::serving(self.inner.call(request), None),
                    Err(rejection) => ResponseFuture::refused(rejection),
                };
            }
        };
        match self
            .layer
            .meter()
            .admit(self.layer.operation(), describe(&request, outer.as_ref()))
        {
            Admit::Ready(Ok(admission)) => {
                let (response, admission) = call(&mut self.inner, request, admission);
                ResponseFuture::serving(response, Some(admission))
            }
            Admit::Ready(Err(rejection)) => ResponseFuture::refused(rejection),
            Admit::Pending(decision) => {
                // The service that was polled ready goes with the request; a clone stays for the next.
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::deciding(decision, ready, request)
            }
        }
    }
}

/// The request as the engine sees it; `outer` is its id where another meter has given it one.
fn describe<'a, ReqB>(request: &'a Request<ReqB>, outer: Option<&'a RequestId>) -> Call<'a> {
    let call = Call::new(request.method(), request.headers(), endpoint(request))
        .with_extensions(request.extensions());
    match outer.or_else(|| request.extensions().get::<RequestId>()) {
        Some(RequestId(id)) => call.with_request_id(id),
        None => call,
    }
}

#[cfg(feature = "axum")]
fn endpoint<ReqB>(request: &Request<ReqB>) -> &str {
    let template = request.extensions().get::<::axum::extract::MatchedPath>();
    match template.map(::axum::extract::MatchedPath::as_str) {
        // The router of tonic has one route for all methods of a service.
        Some(template) if !(template.ends_with("/{*rest}") && crate::meter::is_grpc(request.headers())) => {
            template
        }
        _ => request.uri().path(),
    }
}

#[cfg(not(feature = "axum"))]
fn endpoint<ReqB>(request: &Request<ReqB>) -> &str {
    request.uri().path()
}

/// Puts into the request's extensions what its handler may want to know. That is one value, as each takes memory of its own.
pub(super) fn prepare<ReqB>(request: &mut Request<ReqB>, admission: &Admission) {
    put_charge(request.extensions_mut(), admission.charge());
}

impl<S: fmt::Debug> fmt::Debug for Metering<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metering")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
