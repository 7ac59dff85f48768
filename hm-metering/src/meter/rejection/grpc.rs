//! Trailers-only responses (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>) with details as in
//! google/rpc/status.proto and google/rpc/error_details.proto.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::protobuf::Message;
use crate::meter::report::millis_up;
use crate::meter::trace::DecisionTrace;
use crate::refusal::{Refusal, RefusalKind, ViolatedLimit};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// What `ErrorInfo` names as the source of the reasons.
const DOMAIN: &str = "hm-metering";
/// Everything else than printable ASCII without the percent sign.
const MESSAGE_ESCAPES: &AsciiSet = &CONTROLS.add(b'%');
/// A call that would have to wait longer than this is not repeated by itself: its caller would hang in it.
const PUSHBACK_MAX: Duration = Duration::from_secs(60);
/// The longest `google.protobuf.Duration`, about 10,000 years.
const DURATION_MAX: u64 = 315_576_000_000;

pub(super) fn write_status(trace: &DecisionTrace, refusal: &Refusal, headers: &mut HeaderMap) {
    let text = refusal.to_string();
    let details = STANDARD_NO_PAD.encode(status(trace, refusal, &text).as_bytes());
    headers.insert(STATUS, HeaderValue::from(refusal.grpc_status()));
    let message = utf8_percent_encode(&text, MESSAGE_ESCAPES).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(MESSAGE, message);
    }
    if let Ok(details) = HeaderValue::try_from(details) {
        headers.insert(DETAILS, details);
    }
    if let Some(pushback) = pushback(refusal) {
        headers.insert(PUSHBACK, pushback);
    }
}

/// `google.rpc.Status`: `code` = 1, `message` = 2, `details` = 3.
fn status(trace: &DecisionTrace, refusal: &Refusal, text: &str) -> Message {
    let mut status = Message::default()
        .integer(1, i64::from(refusal.grpc_status()))
        .text(2, text)
        .message(3, &error_info(trace, refusal).into_any("google.rpc.ErrorInfo"));
    if let Some(wait) = refusal.retry_after() {
        status = status.message(3, &retry_info(wait).into_any("google.rpc.RetryInfo"));
    }
    if !refusal.limits().is_empty() {
        let failure = quota_failure(trace, refusal);
        status = status.message(3, &failure.into_any("google.rpc.QuotaFailure"));
    }
    status
}

/// `ErrorInfo`: `reason` = 1, `domain` = 2, `metadata` = 3, a map of texts.
fn error_info(trace: &DecisionTrace, refusal: &Refusal) -> Message {
    let mut info = Message::default()
        .text(1, &refusal.code().to_ascii_uppercase())
        .text(2, DOMAIN);
    if !trace.request_id().is_empty() {
        info = info.entry(3, "requestId", trace.request_id());
    }
    if let Some(scope) = refusal.scope() {
        info = info.entry(3, "scope", scope);
    }
    info
}

/// `RetryInfo`: `retry_delay` = 1, a `google.protobuf.Duration`: `seconds` = 1, `nanos` = 2. At least a millisecond.
fn retry_info(wait: Duration) -> Message {
    let wait = wait.max(Duration::from_millis(1));
    let seconds = i64::try_from(wait.as_secs().min(DURATION_MAX)).unwrap_or(i64::MAX);
    let delay = Message::default()
        .integer(1, seconds)
        .integer(2, i64::from(wait.subsec_nanos()));
    Message::default().message(1, &delay)
}

/// `QuotaFailure`: `violations` = 1.
fn quota_failure(trace: &DecisionTrace, refusal: &Refusal) -> Message {
    let subject = trace
        .account()
        .map_or_else(|| "client".to_owned(), |account| format!("account:{account}"));
    refusal
        .limits()
        .iter()
        .fold(Message::default(), |failure, limit| {
            failure.message(1, &violation(&subject, limit))
        })
}

/// `QuotaFailure.Violation`: `subject` = 1, `description` = 2, `quota_id` = 5, `quota_value` = 7.
fn violation(subject: &str, limit: &ViolatedLimit) -> Message {
    let description = format!(
        "The {} limit allows {} units; this request needs {} and {} are left.",
        limit.name, limit.limit, limit.needed, limit.remaining
    );
    Message::default()
        .text(1, subject)
        .text(2, &description)
        .text(5, &limit.name)
        .integer(7, limit.limit.as_i64())
}

/// What a client that retries by itself is told (gRPC proposal A6): milliseconds, rounded up, or not to. Nothing is said
/// where no client retries by itself.
fn pushback(refusal: &Refusal) -> Option<HeaderValue> {
    match refusal.kind() {
        RefusalKind::RateLimited
        | RefusalKind::ConcurrencyLimited
        | RefusalKind::QuotaExceeded
        | RefusalKind::CostExceedsLimit
        | RefusalKind::Unavailable => {}
        RefusalKind::MissingKey
        | RefusalKind::UnreadableKey
        | RefusalKind::InvalidKey(_)
        | RefusalKind::AddressNotAllowed
        | RefusalKind::WrongEnvironment
        | RefusalKind::MissingScope
        | RefusalKind::Custom(_) => return None,
    }
    let Some(wait) = refusal.retry_after().filter(|wait| *wait <= PUSHBACK_MAX) else {
        return Some(HeaderValue::from_static("-1"));
    };
    Some(HeaderValue::from(millis_up(wait).max(1)))
}
