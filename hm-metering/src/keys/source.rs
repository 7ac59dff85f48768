//! Where a request carries its key.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::verifier::KeyVerifier;

/// The header that is ours.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What a request's headers say of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// Nothing.
    None,
    /// One text that may be a key.
    One(&'a str),
    /// More than one key, or bytes that are no text.
    Unreadable,
}

/// Finds the one key in `X-API-Key` or `Authorization: Bearer`.
///
/// A bearer token that does not look like one of our keys is passed over when there is an `X-API-Key`: it may be meant
/// for the handler. Two keys are an error, even if they are the same: which one counts would be a guess.
pub(crate) fn find_credential<'a>(headers: &'a HeaderMap, verifier: &dyn KeyVerifier) -> Credential<'a> {
    let mut own = headers.get_all(X_API_KEY).iter();
    let own_key = match (own.next(), own.next()) {
        (None, _) => None,
        (Some(value), None) => match text_of(value) {
            Some(text) => Some(text),
            None => return Credential::Unreadable,
        },
        (Some(_), Some(_)) => return Credential::Unreadable,
    };
    let mut bearer = None;
    let mut others = 0;
    for value in headers.get_all(AUTHORIZATION) {
        let Some(text) = text_of(value) else {
            return Credential::Unreadable;
        };
        match bearer_token(text) {
            Some(token) if own_key.is_none() || verifier.claims(token) => {
                if bearer.replace(token).is_some() {
                    return Credential::Unreadable;
                }
            }
            _ => others += 1,
        }
    }
    match (own_key, bearer) {
        (Some(_), Some(_)) => Credential::Unreadable,
        (None, Some(_)) if others > 0 => Credential::Unreadable,
        (Some(""), None) | (None, None) => Credential::None,
        (Some(key), None) | (None, Some(key)) => Credential::One(key),
    }
}

/// The value without space around it; none if it is no text.
fn text_of(value: &HeaderValue) -> Option<&str> {
    std::str::from_utf8(value.as_bytes().trim_ascii()).ok()
}

fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_ascii_start())
}
