//! A request that was refused, with everything its answer needs.

mod grpc;
mod problem;
mod protobuf;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use http::{Extensions, StatusCode};

use super::report::{LimitReport, write_retry_after};
use super::trace::DecisionTrace;
use crate::operation::Operation;
use crate::principal::Principal;
use crate::refusal::{Refusal, RefusalKind};

/// The media type of gRPC itself.
const GRPC: &str = "application/grpc";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refused request. Its parts are the answer to the caller.
///
/// Usually that is a problem document (RFC 9457) under the refusal's status. To a gRPC call, which its `Content-Type`
/// tells, it is a trailers-only response: status 200, and in the headers `grpc-status`, `grpc-message`, and
/// `grpc-status-details-bin` with a `google.rpc.Status`. Its details are an `ErrorInfo` with the refusal's code in capitals
/// as reason, a `QuotaFailure` that names the limits, and a `RetryInfo` where waiting helps.
#[derive(Debug)]
pub struct Rejection {
    trace: DecisionTrace,
    form: Form,
    is_head: bool,
}

/// What an answer has to look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// A problem document.
    #[default]
    Problem,
    /// A trailers-only response of this content type.
    Grpc(&'static str),
}

/// What is known of a refused request.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) request_id: String,
    pub(crate) form: Form,
    pub(crate) operation: Option<Arc<Operation>>,
    pub(crate) principal: Option<Principal>,
    /// Whether it was for a head, whose answer has no body.
    pub(crate) is_head: bool,
}

impl Form {
    pub(crate) const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc(_))
    }

    /// Whether its status comes in the answer's head or trailers: gRPC-Web has it in the body.
    pub(crate) fn has_status_in_headers(self) -> bool {
        matches!(self, Self::Grpc(media_type) if media_type == GRPC)
    }

    /// What the caller of a request with these headers understands.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.get(CONTENT_TYPE).map_or(Self::Problem, Self::of_type)
    }

    /// The same by the request's `Content-Type`.
    pub(crate) fn of_type(sent: &HeaderValue) -> Self {
        let sent = sent.as_bytes();
        // gRPC-Web answers have a type of their own, and may be trailers-only as well.
        let types = [
            ("application/grpc-web-text", "application/grpc-web-text+proto"),
            ("application/grpc-web", "application/grpc-web+proto"),
            (GRPC, GRPC),
        ];
        let is_sent = |prefix: &str| {
            sent.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        types
            .iter()
            .find(|(prefix, _)| is_sent(prefix))
            .map_or(Self::Problem, |(_, answered)| Self::Grpc(answered))
    }
}

/// Whether a request with these headers is a gRPC call.
#[cfg(feature = "axum")]
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    Form::of(headers).is_grpc()
}

impl Rejection {
    pub(crate) fn new(refusal: Refusal, report: Option<LimitReport>, asked: Asked) -> Self {
        let trace = DecisionTrace::new(
            Some(refusal),
            report,
            asked.principal,
            asked.operation,
            asked.request_id,
        );
        trace.log();
        Self {
            trace,
            form: asked.form,
            is_head: asked.is_head,
        }
    }

    /// Why.
    #[must_use]
    pub fn refusal(&self) -> &Refusal {
        self.trace.refused()
    }

    /// The limits it was decided by, where it came that far.
    #[must_use]
    pub fn report(&self) -> Option<&LimitReport> {
        self.trace.report()
    }

    /// The request's id; empty where nobody gave it one.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.trace.request_id()
    }

    /// How it came to this, for operators.
    #[must_use]
    pub const fn trace(&self) -> &DecisionTrace {
        &self.trace
    }

    /// The answer's HTTP status: that of the refusal, or 200 where the caller speaks gRPC. The request's event has the
    /// refusal's in either case.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.form {
            Form::Problem => self.refusal().status(),
            Form::Grpc(_) => StatusCode::OK,
        }
    }

    /// Writes the answer's headers, those of the body included. Those of a refused HEAD are of the body that a GET would have.
    pub fn write_headers(&self, body: &Bytes, headers: &mut HeaderMap) {
        let retry_after = self.refusal().retry_after();
        let id = self.request_id();
        if !id.is_empty() {
            // One that the handler had in mind for its own answer.
            headers.remove(X_REQUEST_ID);
        }
        if let Some(report) = self.report() {
            report.write_refused(retry_after, id.as_bytes(), headers);
        } else if let Ok(id) = HeaderValue::from_str(id)
            && !id.is_empty()
        {
            headers.insert(X_REQUEST_ID, id);
        }
        if let Some(wait) = retry_after {
            write_retry_after(wait, headers);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.form {
            Form::Problem => {
                if let Some(challenge) = challenge(self.refusal().kind()) {
                    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
                let length = if self.is_head {
                    self.document().len()
                } else {
                    body.len()
                };
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            Form::Grpc(media_type) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
                grpc::write_status(&self.trace, self.refusal(), headers);
            }
        }
    }

    /// Puts what the answer's middleware and logs may want to know into the response's extensions: the [`Refusal`] and the
    /// [`DecisionTrace`].
    pub fn write_extensions(&self, extensions: &mut Extensions) {
        extensions.insert(self.refusal().clone());
        extensions.insert(self.trace.clone());
    }

    /// The answer's body: a problem document, or nothing where the caller speaks gRPC or asked for a head.
    #[must_use]
    pub fn body(&self) -> Bytes {
        match self.form {
            Form::Problem if !self.is_head => self.document(),
            Form::Problem | Form::Grpc(_) => Bytes::new(),
        }
    }

    fn document(&self) -> Bytes {
        problem::document(self.refusal(), self.request_id())
    }
}

/// The challenge of RFC 6750 section 3 that goes with the status.
const fn challenge(kind: RefusalKind) -> Option<&'static str> {
    match kind {
        RefusalKind::MissingKey => Some("Bearer"),
        RefusalKind::InvalidKey(_) => Some("Bearer error=\"invalid_token\""),
        RefusalKind::MissingScope => Some("Bearer error=\"insufficient_scope\""),
        RefusalKind::UnreadableKey
        | RefusalKind::AddressNotAllowed
        | RefusalKind::WrongEnvironment
        | RefusalKind::RateLimited
        | RefusalKind::ConcurrencyLimited
        | RefusalKind::QuotaExceeded
        | RefusalKind::CostExceedsLimit
        | RefusalKind::Unavailable
        | RefusalKind::Custom(_) => None,
    }
}

#[cfg(test)]
mod tests;
