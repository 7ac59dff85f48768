//! The service that the layer makes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{RateLimitLayer, request_id};
use crate::client_address::PeerAddress;
use crate::layer::{MeteredBody, refuse};
use crate::meter::Rejection;

/// A service behind a [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimited<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<S> RateLimited<S> {
    pub(super) const fn new(inner: S, layer: RateLimitLayer) -> Self {
        Self { inner, layer }
    }

    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for RateLimited<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Response = Response<MeteredBody<ResB>>;
    type Error = S::Error;
    type Future = RateLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let extensions = request.extensions();
        let peer = PeerAddress::of(extensions);
        match self.layer.check(peer, (request.method(), request.headers()), || {
            request_id(extensions)
        }) {
            Ok(()) => RateLimitFuture {
                state: State::Serving {
                    response: self.inner.call(request),
                },
            },
            Err(rejection) => RateLimitFuture {
                state: State::Refused { rejection },
            },
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for RateLimited<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish()
    }
}

pin_project! {
    /// The future of a [`RateLimited`] service.
    #[derive(Debug)]
    pub struct RateLimitFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Serving {
            #[pin]
            response: F,
        },
        Refused {
            rejection: Box<Rejection>,
        },
    }
}

impl<F, B, E> Future for RateLimitFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<MeteredBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Serving { response } => {
                Poll::Ready(ready!(response.poll(cx)).map(|response| response.map(MeteredBody::passing)))
            }
            StateProjection::Refused { rejection } => Poll::Ready(Ok(refuse(rejection))),
        }
    }
}
