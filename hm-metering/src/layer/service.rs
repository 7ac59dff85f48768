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
use crate::meter::{Admission, Admit, Call, Charge, RequestId};

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
        let extensions = request.extensions();
        if !extensions.is_empty() && extensions.get::<Charge>().is_some() {
            return self.call_again(request);
        }
        match self
            .layer
            .meter()
            .admit(self.layer.operation(), describe(&request))
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

impl<S> Metering<S> {
    /// Serves a request that an outer layer admitted, and charges.
    fn call_again<ReqB>(&mut self, request: Request<ReqB>) -> ResponseFuture<S, ReqB>
    where
        S: Service<Request<ReqB>>,
    {
        tracing::warn!("a request passes two metering layers; the inner one charges nothing");
        let extensions = request.extensions();
        let id = extensions.get::<RequestId>().map_or("", |RequestId(id)| id);
        let caller = extensions.get::<Charge>().map(Charge::principal);
        match self
            .layer
            .meter()
            .check_again(self.layer.operation(), caller, request.headers(), id)
        {
            Ok(()) => ResponseFuture::serving(self.inner.call(request), None),
            Err(rejection) => ResponseFuture::refused(rejection),
        }
    }
}

fn describe<ReqB>(request: &Request<ReqB>) -> Call<'_> {
    let call = Call::new(request.method(), request.headers(), endpoint(request))
        .with_extensions(request.extensions());
    match request.extensions().get::<RequestId>() {
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
    request.extensions_mut().insert(admission.charge());
}

impl<S: fmt::Debug> fmt::Debug for Metering<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metering")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}
