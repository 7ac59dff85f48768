//! What goes wrong, and the problem document (RFC 9457) that says so.

use std::error::Error as StdError;
use std::time::Duration;

use salvo::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use salvo::http::{ResBody, StatusCode};
use salvo::oapi::{self, EndpointOutRegister, ToSchema};
use salvo::{Depot, Request, Response, Writer, async_trait};
use serde::Serialize;

use crate::middleware::request_id::request_id;
use crate::telemetry;

/// The media type of problem documents.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request is not answered as its sender hoped.
///
/// The `code` and the `detail` are for the sender. What the sender must not see is kept as `source` and logged.
#[derive(Debug)]
pub struct AppError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    fields: Vec<FieldError>,
    retry_after: Option<Duration>,
    challenge: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub struct FieldError {
    /// Name of the field; empty for the body as a whole.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// An error document, by RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// What kind of problem this is: `about:blank`, since `code` tells more.
    #[serde(rename = "type")]
    #[salvo(schema(rename = "type"))]
    pub kind: String,
    /// The meaning of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, for people.
    pub detail: String,
    /// What happened, for programs; never changes.
    pub code: String,
    /// Names this request in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What is wrong with each field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl AppError {
    /// An error for the sender to see. One that says "not now" (503) asks to come back in a second.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let is_passing = status == StatusCode::SERVICE_UNAVAILABLE;
        Self {
            status,
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after: is_passing.then_some(Duration::from_secs(1)),
            challenge: None,
            source: None,
        }
    }

    /// 400: the request can't be understood.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401 with a challenge, as it has to carry one.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        let challenge = match code {
            "invalid_token" => "Bearer realm=\"hm-server\", error=\"invalid_token\"",
            _ => "Bearer realm=\"hm-server\"",
        };
        Self {
            challenge: Some(challenge),
            ..Self::new(StatusCode::UNAUTHORIZED, code, detail)
        }
    }

    /// 403.
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, detail)
    }

    /// 404; the same for what does not exist and for what belongs to somebody else.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 409.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422 for fields that are wrong.
    #[must_use]
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let detail = match fields.as_slice() {
            [one] if one.field.is_empty() => one.message.clone(),
            [one] => format!("{}: {}", one.field, one.message),
            several => format!("{} fields are wrong", several.len()),
        };
        Self {
            fields,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail)
        }
    }

    /// 422 for one field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// 429.
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail)
        }
    }

    /// 503: something this server needs does not answer.
    pub fn unavailable(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            source: Some(source.into()),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service is not available right now.",
            )
        }
    }

    /// 503: everything is in use.
    #[must_use]
    pub fn overloaded() -> Self {
        Self {
            retry_after: Some(Duration::from_secs(1)),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "The service is busy. Try again soon.",
            )
        }
    }

    /// 500: our fault.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Something went wrong on our side. The request id helps us to find out what.",
            )
        }
    }

    /// Says more exactly what happened.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// Keeps what is behind the error for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Puts the problem document into the response, and the cause into the log if it is ours.
    pub fn render(self, request_id: &str, res: &mut Response) {
        if self.status.is_server_error() {
            self.log(request_id);
        }
        if let Some(after) = self.retry_after {
            set(res, RETRY_AFTER, &whole_seconds(after).to_string());
        }
        if let Some(challenge) = self.challenge {
            set(res, WWW_AUTHENTICATE, challenge);
        }
        let problem = Problem {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            request_id: Some(request_id.to_owned()).filter(|id| !id.is_empty()),
            errors: self.fields,
        };
        set(res, CONTENT_TYPE, PROBLEM_JSON);
        res.status_code(self.status);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        res.replace_body(ResBody::Once(body.into()));
    }

    fn log(&self, request_id: &str) {
        let cause = self
            .source
            .as_deref()
            .map(|source| telemetry::chain(source))
            .unwrap_or_default();
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(
                request.id = request_id,
                error.code = self.code,
                error.cause = cause,
                "request failed"
            );
        } else {
            tracing::warn!(
                request.id = request_id,
                error.code = self.code,
                error.cause = cause,
                "request not served"
            );
        }
    }
}

fn set(res: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        res.headers_mut().insert(name, value);
    }
}

/// Rounded up, because a client that comes back too early is refused again.
fn whole_seconds(span: Duration) -> u64 {
    (span.as_secs() + u64::from(span.subsec_nanos() > 0)).max(1)
}

#[async_trait]
impl Writer for AppError {
    async fn write(self, req: &mut Request, _depot: &mut Depot, res: &mut Response) {
        self.render(request_id(req), res);
    }
}

impl EndpointOutRegister for AppError {
    fn register(components: &mut oapi::Components, operation: &mut oapi::Operation) {
        let problem = oapi::Response::new("A problem document (RFC 9457); `code` says what happened.")
            .add_content(PROBLEM_JSON, Problem::to_schema(components));
        operation.responses.insert("default", problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_never_zero() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(17)), 17);
    }

    #[test]
    fn the_cause_never_reaches_the_sender() {
        let error = AppError::internal(std::io::Error::other("password=hunter2"));
        let mut res = Response::new();
        error.render("", &mut res);
        let ResBody::Once(body) = res.take_body() else {
            panic!("a body")
        };
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("\"code\":\"internal_error\""), "{text}");
    }
}
