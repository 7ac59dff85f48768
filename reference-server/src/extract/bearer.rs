//! The bearer credential of a request.

use salvo::http::HeaderMap;
use salvo::http::header::AUTHORIZATION;

use crate::error::AppError;

const LONGEST: usize = 4096;

/// What stands after `Bearer` in the `Authorization` header; `None` if there is no such header.
///
/// # Errors
///
/// Several headers (400), or one that is no bearer credential (401).
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, AppError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(AppError::bad_request(
            "ambiguous_credentials",
            "Send one Authorization header.",
        ));
    }
    let token = header.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && (1..=LONGEST).contains(&token.len())).then_some(token)
    });
    match token {
        Some(token) => Ok(Some(token)),
        None => Err(AppError::unauthorized(
            "invalid_token",
            "The Authorization header is not `Bearer <token>`.",
        )),
    }
}
