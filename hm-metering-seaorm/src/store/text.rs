//! What texts every database keeps, so that all of them refuse, or shorten, the same.
//!
//! PostgreSQL keeps no NUL, not even in JSON, and the lengths of columns are nothing to SQLite.

use crate::error::Failure;

/// The most characters of a name of a key or account.
pub(super) const NAME_MAX: usize = 255;

/// Refuses a text with a NUL, or with more than `max` characters.
pub(super) fn must_fit(text: &str, max: usize) -> Result<(), Failure> {
    if text.chars().count() > max {
        return Err(Failure::INVALID);
    }
    must_be_plain([text])
}

/// Refuses texts with a NUL.
pub(super) fn must_be_plain<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<(), Failure> {
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(Failure::INVALID);
    }
    Ok(())
}

/// The first `max` characters, with something visible in place of each NUL: for what is not worth losing for its texts.
pub(super) fn fitted(text: &str, max: usize) -> String {
    let plain = |character| if character == '\0' { '\u{fffd}' } else { character };
    text.chars().take(max).map(plain).collect()
}
