//! Where a request carries its key.

use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::verifier::KeyVerifier;

/// Which of a request's headers may carry a key, noted in passing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carriers<'a> {
    /// The first `X-API-Key`.
    own: Option<&'a HeaderValue>,
    has_several: bool,
    has_authorization: bool,
}

impl<'a> Carriers<'a> {
    pub(crate) const fn note_own(&mut self, value: &'a HeaderValue) {
        self.has_several = self.own.is_some();
        self.own = Some(value);
    }

    pub(crate) const fn note_authorization(&mut self) {
        self.has_authorization = true;
    }
}

/// What a request's headers say of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// Nothing.
    None,
    /// Bytes that may be a key. Whether they are a text is not looked at: those of a known key are.
    One(&'a [u8]),
    /// More than one key, or bytes that are no text.
    Unreadable,
}

/// Finds the one key in `X-API-Key` or `Authorization: Bearer`. `carriers` are what was noted of `headers`.
///
/// A bearer token that does not look like one of our keys is passed over when there is an `X-API-Key`: it may be meant
/// for the handler. Two keys are an error, even if they are the same: which one counts would be a guess.
pub(crate) fn find_credential<'a>(
    carriers: Carriers<'a>,
    headers: &'a HeaderMap,
    verifier: &dyn KeyVerifier,
) -> Credential<'a> {
    if carriers.has_several {
        return Credential::Unreadable;
    }
    // One without a key in it is as good as none.
    let own = carriers.own.map(|value| value.as_bytes().trim_ascii());
    let own = own.filter(|key| !key.is_empty());
    if carriers.has_authorization {
        return find_beside(own, headers, verifier);
    }
    match own {
        None => Credential::None,
        Some(key) => Credential::One(key),
    }
}

/// The same for a request with `Authorization`.
fn find_beside<'a>(
    own: Option<&'a [u8]>,
    headers: &'a HeaderMap,
    verifier: &dyn KeyVerifier,
) -> Credential<'a> {
    if own.is_some_and(|key| str::from_utf8(key).is_err()) {
        return Credential::Unreadable;
    }
    let mut bearer = None;
    let mut others = 0;
    for value in headers.get_all(AUTHORIZATION) {
        let value = value.as_bytes().trim_ascii();
        let token = bearer_token(value);
        let is_ours = match (token, own) {
            (Some(_), None) => true,
            (token, _) => match str::from_utf8(token.unwrap_or(value)) {
                Ok(text) => token.is_some() && verifier.claims(text),
                Err(_) => return Credential::Unreadable,
            },
        };
        match token {
            Some(token) if is_ours => {
                if bearer.replace(token).is_some() {
                    return Credential::Unreadable;
                }
            }
            _ => others += 1,
        }
    }
    match (own, bearer) {
        (Some(_), Some(_)) => Credential::Unreadable,
        (None, Some(_)) if others > 0 => Credential::Unreadable,
        (None, None) => Credential::None,
        (Some(key), None) | (None, Some(key)) => Credential::One(key),
    }
}

fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
    let token = rest.strip_prefix(b" ")?;
    scheme
        .eq_ignore_ascii_case(SCHEME)
        .then(|| token.trim_ascii_start())
}
