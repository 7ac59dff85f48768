//! What the engine needs to know of a request.

use std::fmt;
use std::net::IpAddr;

use http::header::HeaderMap;
use http::{Extensions, Method};

use super::heads::Heads;
use super::rejection::Form;
use super::tally::cut;
use crate::client_address::{PeerAddress, TrustedProxies};

pub(crate) const ENDPOINT_MAX: usize = 256;
pub(crate) const REQUEST_ID_MAX: usize = 128;

/// A request as the engine sees it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) endpoint: &'a str,
    request_id: Option<&'a str>,
    peer: Option<IpAddr>,
    extensions: Option<&'a Extensions>,
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
            peer: None,
            extensions: None,
        }
    }

    /// The same request with its endpoint called so.
    pub(super) const fn with_endpoint(mut self, endpoint: &'a str) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// The request's id, where something before the engine gave it one. Otherwise a sound `X-Request-Id` of the caller
    /// is taken, else one is made.
    #[must_use]
    pub const fn with_request_id(mut self, id: &'a str) -> Self {
        self.request_id = Some(id);
        self
    }

    /// The address of the connection's other end. Keys that may be used from some networks only need it: what the engine
    /// takes for the client's address is made of it, the headers and
    /// [`MeterBuilder::trusted_proxies`](crate::MeterBuilder::trusted_proxies).
    #[must_use]
    pub const fn with_peer(mut self, peer: IpAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The request's extensions, where a [`PeerAddress`] may be. It comes before what [`Call::with_peer`] says, and is
    /// looked for only when it is needed.
    #[must_use]
    pub const fn with_extensions(mut self, extensions: &'a Extensions) -> Self {
        self.extensions = Some(extensions);
        self
    }

    /// The request's method.
    #[must_use]
    pub const fn method(&self) -> &'a Method {
        self.method
    }

    /// The request's headers. One of them is a key.
    #[must_use]
    pub const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// The route's template or the path.
    #[must_use]
    pub const fn endpoint(&self) -> &'a str {
        self.endpoint
    }

    /// The client's address, as far as it is known and can be believed.
    pub(crate) fn client(&self, proxies: &TrustedProxies) -> Option<IpAddr> {
        let peer = self.extensions.and_then(PeerAddress::of).or(self.peer)?;
        Some(proxies.client_of(peer, self.headers))
    }

    pub(super) fn request_id(&self, heads: &Heads<'a>) -> Option<&'a str> {
        let header = || heads.request_id.and_then(|value| value.to_str().ok());
        self.request_id.or_else(header).filter(|id| is_sound_id(id))
    }

    pub(super) fn texts(&self, heads: &Heads<'a>) -> Texts {
        let endpoint = cut(self.endpoint, ENDPOINT_MAX);
        Texts::new(endpoint, self.request_id(heads).unwrap_or_default())
    }

    /// What a refusal has to look like. Only a POST can be a gRPC call.
    pub(super) fn form(&self, heads: &Heads<'_>) -> Form {
        if *self.method == Method::POST {
            heads.content_type.map_or(Form::Problem, Form::of_type)
        } else {
            Form::Problem
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
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The texts that are kept of a request until its event is written, in one piece.
#[derive(Clone)]
pub(crate) struct Texts {
    bytes: TextBytes,
    endpoint: u16,
    /// Of both.
    len: u16,
}

/// Usual texts need no allocation.
#[derive(Clone)]
enum TextBytes {
    Inline([u8; TEXTS_INLINE]),
    Spilled(Box<[u8]>),
}

const TEXTS_INLINE: usize = 96;

impl Texts {
    /// An endpoint and a request's id, both within their bounds.
    #[inline]
    fn new(endpoint: &str, id: &str) -> Self {
        let len = endpoint.len() + id.len();
        let mut inline = [0; TEXTS_INLINE];
        let bytes = match inline.get_mut(..len) {
            Some(place) => {
                let (first, second) = place.split_at_mut(endpoint.len());
                first.copy_from_slice(endpoint.as_bytes());
                second.copy_from_slice(id.as_bytes());
                TextBytes::Inline(inline)
            }
            None => TextBytes::Spilled([endpoint.as_bytes(), id.as_bytes()].concat().into()),
        };
        Self {
            bytes,
            endpoint: endpoint.len() as u16,
            len: len as u16,
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            TextBytes::Inline(bytes) => &bytes[..self.len.into()],
            TextBytes::Spilled(bytes) => bytes,
        }
    }

    /// The bytes of the endpoint, which is a text.
    pub(crate) fn endpoint(&self) -> &[u8] {
        &self.bytes()[..self.endpoint.into()]
    }

    /// The id that the request came with, a text; none where it gets that of its event.
    pub(crate) fn request_id_bytes(&self) -> Option<&[u8]> {
        let id = &self.bytes()[self.endpoint.into()..];
        (!id.is_empty()).then_some(id)
    }

    /// The id that the request came with; none where it gets that of its event.
    pub(crate) fn request_id(&self) -> Option<&str> {
        // It was a text before, so this never falls back.
        std::str::from_utf8(self.request_id_bytes()?).ok()
    }
}

/// The id of a request. What gives requests ids before they are metered puts it into their extensions; otherwise
/// [`Charge::request_id`](crate::Charge::request_id) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

fn is_sound_id(id: &str) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
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
            headers.insert("x-request-id", sent.parse().unwrap());
            let call = Call::new(&method, &headers, "/");
            assert_eq!(call.request_id(&Heads::of(&headers)).is_some(), taken, "{sent:?}");
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
        let texts = Call::new(&Method::GET, &headers, &path).texts(&Heads::default());
        assert!(texts.endpoint().len() <= 256 && path.as_bytes().starts_with(texts.endpoint()));
    }
}
