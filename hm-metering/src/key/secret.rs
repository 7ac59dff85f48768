//! Keys in memory: mute in `Debug`, wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A key as a caller sent it, not yet believed.
#[derive(Clone)]
pub struct PresentedKey(Zeroizing<String>);

impl PresentedKey {
    /// Takes the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text. Don't log it, and don't keep it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey(…)")
    }
}

/// A key just made. It is shown to its owner this once; only its digest is kept.
pub struct IssuedKey(Zeroizing<String>);

impl IssuedKey {
    pub(super) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the answer to the one who asked for the key.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The beginning that may be shown later, so that an owner can tell keys apart: prefix, environment and four
    /// characters of the body.
    #[must_use]
    pub fn display_prefix(&self) -> &str {
        let body = self.0.rfind('_').map_or(0, |at| at + 1);
        &self.0[..body + 4]
    }

    /// The last four characters.
    #[must_use]
    pub fn last4(&self) -> &str {
        &self.0[self.0.len() - 4..]
    }

    /// The same key as a caller would present it.
    #[must_use]
    pub fn to_presented(&self) -> PresentedKey {
        PresentedKey::new(self.0.as_str())
    }
}

impl fmt::Debug for IssuedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuedKey(…)")
    }
}
