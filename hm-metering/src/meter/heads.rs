//! The headers that the engine reads of a request, found in one pass over all of them.
//!
//! A look-up by name takes as long as a dozen headers that are passed by.

use http::header::{HeaderMap, HeaderValue};

use crate::keys::Carriers;

/// What the engine reads of a request's headers. Where one stands several times, it is the first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heads<'a> {
    pub(super) keys: Carriers<'a>,
    pub(super) request_id: Option<&'a HeaderValue>,
    pub(super) content_type: Option<&'a HeaderValue>,
    content_length: Option<&'a HeaderValue>,
}

impl<'a> Heads<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut heads = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "x-api-key" => heads.keys.note_own(value),
                "authorization" => heads.keys.note_authorization(),
                "x-request-id" => heads.request_id = heads.request_id.or(Some(value)),
                "content-type" => heads.content_type = heads.content_type.or(Some(value)),
                "content-length" => heads.content_length = heads.content_length.or(Some(value)),
                _ => {}
            }
        }
        heads
    }

    /// The size of the request's body as announced; zero where it is not.
    pub(super) fn bytes_in(&self) -> u64 {
        let length = self.content_length.and_then(|value| value.to_str().ok());
        length.and_then(|length| length.parse().ok()).unwrap_or(0)
    }
}
