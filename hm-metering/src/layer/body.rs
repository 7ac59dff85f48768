//! The response's body, followed to its end.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::meter::Admission;
use crate::usage::Outcome;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

pin_project! {
    /// A response's body that settles its request when it ends: with its last frame, its trailers, an error, or when it
    /// is dropped before.
    #[derive(Debug)]
    pub struct MeteredBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProjection]
    enum Kind<B> {
        // A refusal's own text, as far as it was not read.
        Own { text: Option<Bytes> },
        // The service's body, how much of an announced length is left, the admission, taken when the request is settled, and
        // what the service handed over and waits until it is reserved.
        Inner {
            #[pin]
            body: B,
            left: Option<u64>,
            admission: Option<Admission>,
            held: Option<Box<Handed>>,
        },
    }
}

impl<B: Body> MeteredBody<B> {
    /// A body of ours. An empty one is over before it begins, so that its response can end with its head.
    pub(crate) fn own(text: Bytes) -> Self {
        Self {
            kind: Kind::Own {
                text: (!text.is_empty()).then_some(text),
            },
        }
    }

    /// A body that is nobody's to settle.
    pub(crate) const fn passing(body: B) -> Self {
        Self {
            kind: Kind::Inner {
                body,
                left: None,
                admission: None,
                held: None,
            },
        }
    }

    /// A body that ends the request of `admission`. One that is over already, or will not be sent, ends it at once.
    ///
    /// A server stops reading at the length that `headers` announce, if the body does not know its own. A gRPC call's status
    /// comes after that, in trailers.
    pub(crate) fn inner(body: B, headers: &HeaderMap, admission: Admission) -> Self {
        let left = if admission.is_grpc() {
            None
        } else {
            body.size_hint().exact().or_else(|| announced(headers))
        };
        let mut admission = Some(admission);
        let is_over =
            |admission: &mut Admission| body.is_end_stream() || admission.is_bodiless() || left == Some(0);
        if let Some(admission) = admission.take_if(is_over) {
            admission.finish(Outcome::Completed);
        }
        Self {
            kind: Kind::Inner {
                body,
                left,
                admission,
                held: None,
            },
        }
    }
}

impl<B> Body for MeteredBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = MeteredBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, MeteredBodyError>>> {
        let mut kind = self.project().kind;
        match kind.as_mut().project() {
            KindProjection::Own { text } => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            KindProjection::Inner {
                mut body,
                left,
                admission,
                held,
            } => {
                let polled = match held.take() {
                    Some(handed) => Poll::Ready(*handed),
                    None => {
                        set_running(admission, true);
                        let polled = body.as_mut().poll_frame(cx);
                        set_running(admission, false);
                        polled.map(|frame| frame.map(|frame| frame.map_err(MeteredBodyError::failed)))
                    }
                };
                if let (Some(admission), true) = (admission.as_mut(), polled.is_ready())
                    && admission.is_lacking()
                    && admission.poll_reserved(cx).is_pending()
                {
                    if let Poll::Ready(handed) = polled {
                        *held = Some(Box::new(handed));
                    }
                    return Poll::Pending;
                }
                // What the handler said while it was polled may be too much, whatever it sends.
                if let Some(stopped) = admission.take_if(|admission| admission.is_stopped()) {
                    kind.set(Kind::Own { text: None });
                    return Poll::Ready(stop(stopped));
                }
                let frame = ready!(polled);
                let outcome = match &frame {
                    None => Some(Outcome::Completed),
                    Some(Err(_)) => Some(Outcome::BodyError),
                    // Servers need not poll again after trailers, after the announced length, or when the body says that it
                    // is over.
                    Some(Ok(frame)) => {
                        let sent = frame.data_ref().map_or(0, Bytes::len) as u64;
                        *left = left.map(|left| left.saturating_sub(sent));
                        let is_over = frame.is_trailers() || *left == Some(0) || body.is_end_stream();
                        note_frame(admission, frame, sent, is_over);
                        is_over.then_some(Outcome::Completed)
                    }
                };
                if let Some(outcome) = outcome
                    && let Some(admission) = admission.take()
                {
                    admission.finish(outcome);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own { text } => text.is_none(),
            Kind::Inner { body, held, .. } => held.is_none() && body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own { text } => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Kind::Inner { body, held, .. } => with_held(body.size_hint(), held.as_deref()),
        }
    }
}

/// What is left of a body, with the part of it that was handed over and not passed on.
fn with_held(hint: SizeHint, held: Option<&Handed>) -> SizeHint {
    let Some(Some(Ok(frame))) = held else { return hint };
    let held = frame.data_ref().map_or(0, Bytes::len) as u64;
    let mut whole = SizeHint::new();
    whole.set_lower(hint.lower().saturating_add(held));
    if let Some(upper) = hint.upper() {
        whole.set_upper(upper.saturating_add(held));
    }
    whole
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn set_running(admission: &mut Option<Admission>, running: bool) {
    if let Some(admission) = admission {
        admission.set_running(running);
    }
}

/// Tells the admission what is about to be handed over.
fn note_frame(admission: &mut Option<Admission>, frame: &Frame<Bytes>, sent: u64, is_last: bool) {
    if let Some(admission) = admission {
        match frame.trailers_ref() {
            Some(trailers) => admission.note_trailers(trailers),
            None if is_last => admission.sent_last(sent),
            None => admission.sent(sent),
        }
    }
}

/// Ends a response that took too much: a gRPC stream with its status, anything else with an error.
fn stop(mut admission: Admission) -> Option<Result<Frame<Bytes>, MeteredBodyError>> {
    if !admission.is_grpc() {
        admission.finish(Outcome::Stopped);
        return Some(Err(MeteredBodyError(None)));
    }
    let mut trailers = HeaderMap::new();
    // RESOURCE_EXHAUSTED
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("8"));
    trailers.insert(
        GRPC_MESSAGE,
        HeaderValue::from_static("it takes more than is left of its quota"),
    );
    admission.note_trailers(&trailers);
    admission.finish(Outcome::Stopped);
    Some(Ok(Frame::trailers(trailers)))
}

/// What a body hands over, or its end.
type Handed = Option<Result<Frame<Bytes>, MeteredBodyError>>;

/// Any error.
type BoxError = Box<dyn Error + Send + Sync>;

/// Why a metered body failed: the service's body did, or the request took more than could be reserved for it and its
/// operation says [`Overrun::Reject`](crate::Overrun::Reject).
#[derive(Debug)]
pub struct MeteredBodyError(Option<BoxError>);

impl MeteredBodyError {
    fn failed(error: impl Into<BoxError>) -> Self {
        Self(Some(error.into()))
    }

    /// Whether the response was stopped because it took too much.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for MeteredBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "the service's body failed",
            None => "the response was stopped: it took more than could be reserved",
        })
    }
}

impl Error for MeteredBodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.as_ref().map(|error| &**error as &(dyn Error + 'static))
    }
}
