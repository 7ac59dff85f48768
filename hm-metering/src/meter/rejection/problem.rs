//! Problem documents (RFC 9457).

use bytes::Bytes;
use serde::Serialize;

use crate::meter::report::retry_seconds;
use crate::refusal::{Refusal, RefusalKind};
use crate::time::Timestamp;

pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// Defined by draft-ietf-httpapi-ratelimit-headers, registration pending.
pub(super) const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_date: Option<Timestamp>,
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'a str>,
}

/// The document for a refusal.
pub(super) fn document(refusal: &Refusal, request_id: &str) -> Bytes {
    let (r#type, title) = match refusal.kind() {
        RefusalKind::MissingKey | RefusalKind::InvalidKey(_) => ("about:blank", "Unauthorized"),
        RefusalKind::UnreadableKey => ("about:blank", "Bad Request"),
        RefusalKind::AddressNotAllowed
        | RefusalKind::WrongEnvironment
        | RefusalKind::MissingScope
        | RefusalKind::Custom(_) => ("about:blank", "Forbidden"),
        RefusalKind::RateLimited
        | RefusalKind::ConcurrencyLimited
        | RefusalKind::QuotaExceeded
        | RefusalKind::CostExceedsLimit => (QUOTA_EXCEEDED, "Quota Exceeded"),
        RefusalKind::Unavailable => (REDUCED_CAPACITY, "Temporary Reduced Capacity"),
    };
    let problem = Problem {
        r#type,
        title,
        status: refusal.status().as_u16(),
        detail: refusal.to_string(),
        code: refusal.code(),
        request_id,
        retry_after: refusal.retry_after().map(retry_seconds),
        reset_date: refusal.limit().and_then(|limit| limit.reset),
        violated_policies: refusal.limits().iter().map(|limit| limit.name.as_str()).collect(),
    };
    // A structure of texts and numbers always becomes JSON.
    serde_json::to_vec(&problem).unwrap_or_default().into()
}
