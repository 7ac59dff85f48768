//! What the engine needs to know of a request.

use std::fmt;

use http::Method;
use http::header::{HeaderMap, HeaderName};

use super::rejection::Form;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ENDPOINT_MAX: usize = 256;
const METHOD_MAX: usize = 32;
const REQUEST_ID_MAX: usize = 128;

/// A request as the engine sees it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) endpoint: &'a str,
    request_id: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// `endpoint` is the route's template if the framework tells it, such as `/users/{id}`, else the path.
    #[must_use]
    pub const fn new(method: &'a Method, headers: &'a HeaderMap, endpoint: &'a str) -> Self {
        Self {
            method,
            headers,
            endpoint,
            request_id: None,
        }
    }

    /// The request's id, where something before the engine gave it one. Otherwise a sound `X-Request-Id` of the caller
    /// is taken, else one is made.
    #[must_use]
    pub const fn with_request_id(mut self, id: &'a str) -> Self {
        self.request_id = Some(id);
        self
    }

    pub(crate) fn request_id(&self) -> Option<&'a str> {
        let header = || {
            self.headers
                .get(X_REQUEST_ID)
                .and_then(|value| value.to_str().ok())
        };
        self.request_id.or_else(header).filter(|id| is_sound_id(id))
    }

    /// What a refusal has to look like. Only a POST can be a gRPC call.
    fn form(&self) -> Form {
        if *self.method == Method::POST {
            Form::of(self.headers)
        } else {
            Form::Problem
        }
    }

    pub(crate) fn facts(&self, made_id: impl FnOnce() -> String) -> Facts {
        Facts {
            method: cut(self.method.as_str(), METHOD_MAX).to_owned(),
            endpoint: cut(self.endpoint, ENDPOINT_MAX).to_owned(),
            request_id: self.request_id().map_or_else(made_id, str::to_owned),
            form: self.form(),
        }
    }
}

/// Without the headers: one of them is a key.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("endpoint", &self.endpoint)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// What is kept of a request until its event is written.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) method: String,
    pub(crate) endpoint: String,
    pub(crate) request_id: String,
    pub(crate) form: Form,
}

/// The id of a request, in its extensions, for handlers and for the layers above and below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

fn is_sound_id(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsound_request_id_is_not_taken_over() {
        let mut headers = HeaderMap::new();
        let method = Method::GET;
        for (sent, taken) in [
            ("abc-1", true),
            ("", false),
            ("a b", false),
            (&"x".repeat(129), false),
        ] {
            headers.insert(X_REQUEST_ID, sent.parse().unwrap());
            assert_eq!(
                Call::new(&method, &headers, "/").request_id().is_some(),
                taken,
                "{sent:?}"
            );
        }
    }

    #[test]
    fn debug_shows_no_header() {
        let headers =
            HeaderMap::from_iter([(http::header::AUTHORIZATION, "Bearer hm_live_x".parse().unwrap())]);
        assert!(!format!("{:?}", Call::new(&Method::GET, &headers, "/")).contains("hm_live"));
    }

    #[test]
    fn long_paths_are_cut_between_characters() {
        let path = "/ä".repeat(200);
        let headers = HeaderMap::new();
        let facts = Call::new(&Method::GET, &headers, &path).facts(String::new);
        assert!(facts.endpoint.len() <= 256 && path.starts_with(&facts.endpoint));
    }
}
