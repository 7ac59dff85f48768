//! A request on its way through the layer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::MeteredBody;
use super::service::prepare;
use crate::meter::{Admission, AdmitFuture, Rejection};
use crate::refusal::Refusal;
use crate::usage::Outcome;

pin_project! {
    /// The future of a [`Metering`](super::Metering) service.
    pub struct ResponseFuture<S, ReqB>
    where
        S: Service<Request<ReqB>>,
    {
        #[pin]
        state: State<S, ReqB>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, ReqB>
    where
        S: Service<Request<ReqB>>,
    {
        /// The decision needs an answer from a store. What waits for it is in a box, so that the usual future is small.
        Deciding {
            decision: AdmitFuture,
            waiting: Option<Box<(S, Request<ReqB>)>>,
        },
        /// The service has the request.
        Serving {
            #[pin]
            response: S::Future,
            admission: Option<Admission>,
        },
        /// The service has answered, and what it said that this takes is being leased.
        Reserving {
            answer: Option<Box<(S::Response, Admission)>>,
        },
        /// Refused without waiting.
        Refused {
            rejection: Option<Box<Rejection>>,
        },
    }
}

impl<S, ReqB> ResponseFuture<S, ReqB>
where
    S: Service<Request<ReqB>>,
{
    pub(super) fn deciding(decision: AdmitFuture, service: S, request: Request<ReqB>) -> Self {
        Self {
            state: State::Deciding {
                decision,
                waiting: Some(Box::new((service, request))),
            },
        }
    }

    pub(super) const fn serving(response: S::Future, admission: Option<Admission>) -> Self {
        Self {
            state: State::Serving { response, admission },
        }
    }

    pub(super) const fn refused(rejection: Box<Rejection>) -> Self {
        Self {
            state: State::Refused {
                rejection: Some(rejection),
            },
        }
    }
}

impl<S, ReqB, ResB> Future for ResponseFuture<S, ReqB>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ResB: Body<Data = Bytes>,
{
    type Output = Result<Response<MeteredBody<ResB>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProjection::Deciding { decision, waiting } => match ready!(decision.as_mut().poll(cx)) {
                    Err(rejection) => return Poll::Ready(Ok(refuse(&rejection))),
                    Ok(admission) => {
                        #[expect(
                            clippy::expect_used,
                            reason = "it is taken here only, and the state then changes"
                        )]
                        let (mut service, request) = *waiting.take().expect("polled after it was ready");
                        let (response, admission) = call(&mut service, request, admission);
                        state.set(State::Serving {
                            response,
                            admission: Some(admission),
                        });
                    }
                },
                StateProjection::Serving { response, admission } => {
                    if let Some(admission) = admission.as_mut() {
                        admission.set_running(true);
                    }
                    let polled = response.poll(cx);
                    if let Some(admission) = admission.as_mut() {
                        admission.set_running(false);
                    }
                    let admission = if polled.is_ready() { admission.take() } else { None };
                    match (ready!(polled), admission) {
                        (Ok(response), Some(admission)) if admission.is_lacking() => {
                            let answer = Some(Box::new((response, admission)));
                            state.set(State::Reserving { answer });
                        }
                        (Ok(response), admission) => return Poll::Ready(Ok(follow(response, admission))),
                        (Err(error), admission) => {
                            if let Some(admission) = admission {
                                admission.finish(Outcome::ServiceError);
                            }
                            return Poll::Ready(Err(error));
                        }
                    }
                }
                StateProjection::Reserving { answer } => {
                    if let Some((_, admission)) = answer.as_deref_mut() {
                        ready!(admission.poll_reserved(cx));
                    }
                    #[expect(
                        clippy::expect_used,
                        reason = "a future must not be polled after it was ready"
                    )]
                    let (response, admission) = *answer.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(follow(response, Some(admission))));
                }
                StateProjection::Refused { rejection } => {
                    #[expect(
                        clippy::expect_used,
                        reason = "a future must not be polled after it was ready"
                    )]
                    let rejection = rejection.take().expect("polled after it was ready");
                    return Poll::Ready(Ok(refuse(&rejection)));
                }
            }
        }
    }
}

/// Calls the service for a request that was let through.
pub(super) fn call<S, ReqB>(
    service: &mut S,
    mut request: Request<ReqB>,
    mut admission: Admission,
) -> (S::Future, Admission)
where
    S: Service<Request<ReqB>>,
{
    prepare(&mut request, &admission);
    admission.handler_called();
    admission.set_running(true);
    let response = service.call(request);
    admission.set_running(false);
    (response, admission)
}

/// Writes headers and hands the admission to the body. A request that is not ours to meter has none.
fn follow<ResB: Body>(response: Response<ResB>, admission: Option<Admission>) -> Response<MeteredBody<ResB>> {
    let Some(mut admission) = admission else {
        return response.map(MeteredBody::passing);
    };
    if admission.is_stopped() {
        // Nothing of the answer was sent, so the caller can be told why.
        return admission.reject().map_or_else(
            || response.map(MeteredBody::passing),
            |rejection| refuse(&rejection),
        );
    }
    let (mut parts, body) = response.into_parts();
    if let Some(refusal) = parts.extensions.get::<Refusal>() {
        admission.refused(refusal, &mut parts.headers);
        return Response::from_parts(parts, MeteredBody::passing(body));
    }
    admission.answered(parts.status);
    admission.note_trailers(&parts.headers);
    admission.write_headers(&mut parts.headers);
    let body = MeteredBody::inner(body, &parts.headers, admission);
    Response::from_parts(parts, body)
}

/// The answer to a refused request.
pub(crate) fn refuse<ResB: Body>(rejection: &Rejection) -> Response<MeteredBody<ResB>> {
    let body = rejection.body();
    let mut response = Response::new(MeteredBody::own(body.clone()));
    *response.status_mut() = rejection.status();
    rejection.write_headers(&body, response.headers_mut());
    rejection.write_extensions(response.extensions_mut());
    response
}

impl<S, ReqB> fmt::Debug for ResponseFuture<S, ReqB>
where
    S: Service<Request<ReqB>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Deciding { .. } => "deciding",
            State::Serving { .. } => "serving",
            State::Reserving { .. } => "reserving",
            State::Refused { .. } => "refused",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish()
    }
}
