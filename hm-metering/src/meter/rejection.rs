//! A request that was refused, with everything its answer needs.

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use serde::Serialize;

use super::report::{LimitReport, seconds_up, write_retry_after};
use crate::refusal::{Refusal, RefusalKind};
use crate::time::Timestamp;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Defined by draft-ietf-httpapi-ratelimit-headers, registration pending.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// A refused request. Its parts are the answer to the caller: a problem document (RFC 9457) and headers.
#[derive(Debug)]
pub struct Rejection {
    refusal: Refusal,
    report: Option<LimitReport>,
    request_id: String,
}

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
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
}

impl Rejection {
    pub(crate) fn new(refusal: Refusal, report: Option<LimitReport>, request_id: String) -> Self {
        tracing::debug!(
            refusal.kind = ?refusal.kind(),
            refusal.code = refusal.code(),
            request.id = request_id,
            "a request was refused"
        );
        Self {
            refusal,
            report,
            request_id,
        }
    }

    /// Why.
    #[must_use]
    pub const fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The limits it was decided by, where it came that far.
    #[must_use]
    pub const fn report(&self) -> Option<&LimitReport> {
        self.report.as_ref()
    }

    /// The request's id; empty where nobody gave it one.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The answer's status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.refusal.status()
    }

    /// Writes the answer's headers, those of the body included.
    pub fn write_headers(&self, body: &Bytes, headers: &mut HeaderMap) {
        if let Some(report) = &self.report {
            report.write(headers);
        }
        if let Some(wait) = self.refusal.retry_after() {
            write_retry_after(wait, headers);
        }
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if !self.request_id.is_empty()
            && let Ok(id) = HeaderValue::from_str(&self.request_id)
        {
            headers.insert(X_REQUEST_ID, id);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }

    /// The challenge of RFC 6750 section 3 that goes with the status.
    const fn challenge(&self) -> Option<&'static str> {
        match self.refusal.kind() {
            RefusalKind::MissingKey => Some("Bearer"),
            RefusalKind::InvalidKey(_) => Some("Bearer error=\"invalid_token\""),
            RefusalKind::MissingScope => Some("Bearer error=\"insufficient_scope\""),
            RefusalKind::UnreadableKey
            | RefusalKind::AddressNotAllowed
            | RefusalKind::WrongEnvironment
            | RefusalKind::RateLimited
            | RefusalKind::ConcurrencyLimited
            | RefusalKind::QuotaExceeded
            | RefusalKind::Unavailable => None,
        }
    }

    /// The answer's body, a problem document.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let (r#type, title) = match self.refusal.kind() {
            RefusalKind::MissingKey | RefusalKind::InvalidKey(_) => ("about:blank", "Unauthorized"),
            RefusalKind::UnreadableKey => ("about:blank", "Bad Request"),
            RefusalKind::AddressNotAllowed | RefusalKind::WrongEnvironment | RefusalKind::MissingScope => {
                ("about:blank", "Forbidden")
            }
            RefusalKind::RateLimited | RefusalKind::ConcurrencyLimited | RefusalKind::QuotaExceeded => {
                (QUOTA_EXCEEDED, "Quota Exceeded")
            }
            RefusalKind::Unavailable => (REDUCED_CAPACITY, "Temporary Reduced Capacity"),
        };
        let limit = self.refusal.limit();
        let problem = Problem {
            r#type,
            title,
            status: self.status().as_u16(),
            detail: self.refusal.to_string(),
            code: self.refusal.code(),
            request_id: &self.request_id,
            retry_after: self.refusal.retry_after().map(|wait| seconds_up(wait).max(1)),
            reset_date: limit.and_then(|limit| limit.reset),
            violated_policies: limit.map(|limit| [limit.name.as_str()]),
        };
        // A structure of texts and numbers always becomes JSON.
        serde_json::to_vec(&problem).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::refusal::ViolatedLimit;
    use crate::units::Units;

    fn answer(refusal: Refusal) -> (HeaderMap, serde_json::Value) {
        let rejection = Rejection::new(refusal, None, "r-1".to_owned());
        let (body, mut headers) = (rejection.body(), HeaderMap::new());
        rejection.write_headers(&body, &mut headers);
        (headers, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn a_used_up_quota_says_when_it_begins_anew() {
        let refusal = Refusal::new(RefusalKind::QuotaExceeded)
            .with_retry_after(Duration::from_millis(1_036_799_001))
            .with_limit(ViolatedLimit {
                name: "month".to_owned(),
                limit: Units::new(1_000),
                remaining: Units::ZERO,
                elsewhere: Units::ZERO,
                needed: Units::ONE,
                reset: Some(Timestamp::from_micros(1_798_156_800_000_000)),
            });
        let (headers, body) = answer(refusal);
        assert_eq!(headers["retry-after"], "1036800");
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(
            body,
            serde_json::json!({
                "type": QUOTA_EXCEEDED,
                "title": "Quota Exceeded",
                "status": 429,
                "detail": "The month quota allows 1000 units; this request needs 1 and 0 are left.",
                "code": "quota_exceeded",
                "requestId": "r-1",
                "retryAfter": 1_036_800,
                "resetDate": "2026-12-25T00:00:00Z",
                "violated-policies": ["month"],
            })
        );
    }

    #[test]
    fn a_missing_key_is_challenged() {
        let (headers, body) = answer(Refusal::new(RefusalKind::MissingKey));
        assert_eq!(headers["www-authenticate"], "Bearer");
        assert_eq!(body["code"], "missing_api_key");
        assert_eq!(body.get("resetDate"), None);
    }
}
