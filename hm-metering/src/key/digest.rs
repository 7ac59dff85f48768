//! What a store keeps of a key: an HMAC under a pepper.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::secret::PresentedKey;

/// HMAC-SHA-256 of a key. Without the pepper it says nothing about the key; it is not shown all the same.
#[expect(
    clippy::derived_hash_with_manual_eq,
    reason = "equality differs in time taken, not in meaning"
)]
#[derive(Clone, Copy, Hash)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// From what a store kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What a store keeps.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Takes the same time wherever two digests differ.
impl PartialEq for KeyDigest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyDigest {}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// Why a pepper can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum PepperError {
    /// It is shorter than 32 bytes.
    #[error("a pepper needs at least 32 bytes")]
    Short,
    /// Two peppers have the same number.
    #[error("two peppers have the same number")]
    SameNumber,
}

/// A secret of the server that goes into every digest, so that a stolen table can't be tried against guesses.
#[derive(Clone)]
pub struct Pepper {
    number: u16,
    state: Hmac<Sha256>,
}

impl Pepper {
    /// A pepper and the number that is kept beside each digest made with it.
    ///
    /// # Errors
    /// [`PepperError::Short`].
    pub fn new(number: u16, secret: &[u8]) -> Result<Self, PepperError> {
        if secret.len() < 32 {
            return Err(PepperError::Short);
        }
        // HMAC takes secrets of any length; the length was the only thing that could be wrong.
        let state = Hmac::new_from_slice(secret).map_err(|_| PepperError::Short)?;
        Ok(Self { number, state })
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The digest of `key`.
    #[must_use]
    pub fn digest(&self, key: &PresentedKey) -> KeyDigest {
        self.digest_parts([key.expose().as_bytes()])
    }

    /// The digest of several parts after each other.
    pub(super) fn digest_parts<const N: usize>(&self, parts: [&[u8]; N]) -> KeyDigest {
        let mut state = self.state.clone();
        for part in parts {
            state.update(part);
        }
        KeyDigest(state.finalize().into_bytes().into())
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The pepper that new keys get, and older ones that still verify.
///
/// To rotate a pepper where several processes run, first let all of them know the new one as an older one, then make it
/// the current one and keep the old as older: a key that is used is kept under the current pepper from then on, and a
/// process that does not know that one would not find it. Drop the old pepper when no key that matters is kept under it.
#[derive(Clone, Debug)]
pub struct Peppers {
    current: Pepper,
    older: Vec<Pepper>,
}

impl Peppers {
    /// One pepper.
    #[must_use]
    pub const fn new(current: Pepper) -> Self {
        Self {
            current,
            older: Vec::new(),
        }
    }

    /// Keys made with `pepper` stay valid.
    ///
    /// # Errors
    /// [`PepperError::SameNumber`].
    pub fn and_older(mut self, pepper: Pepper) -> Result<Self, PepperError> {
        if self.all().any(|has| has.number == pepper.number) {
            return Err(PepperError::SameNumber);
        }
        self.older.push(pepper);
        Ok(self)
    }

    /// The one that new keys get.
    #[must_use]
    pub const fn current(&self) -> &Pepper {
        &self.current
    }

    /// The digests that `key` may be kept under, the current pepper's first.
    #[must_use]
    pub fn digests(&self, key: &PresentedKey) -> Vec<KeyDigest> {
        self.all().map(|pepper| pepper.digest(key)).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.current).chain(&self.older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: &KeyDigest) -> String {
        digest
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The expected value was computed by Python's `hmac` module.
    #[test]
    fn the_digest_is_hmac_sha_256() {
        let pepper = Pepper::new(1, &[7; 32]).unwrap();
        let digest = pepper.digest(&PresentedKey::new("hm_live_x"));
        assert_eq!(
            hex(&digest),
            "b0512ce92fe822aa2084c55a415fa19466ee979f3bdfd381583aeb59af6f4760"
        );
    }

    #[test]
    fn peppers_change_the_digest_and_are_not_shown() {
        let (a, b) = (
            Pepper::new(1, &[1; 32]).unwrap(),
            Pepper::new(2, &[2; 32]).unwrap(),
        );
        let key = PresentedKey::new("hm_live_x");
        assert_ne!(a.digest(&key), b.digest(&key));
        let both = Peppers::new(b.clone()).and_older(a.clone()).unwrap();
        assert_eq!(both.digests(&key), vec![b.digest(&key), a.digest(&key)]);
        assert_eq!(
            format!("{a:?} {:?}", a.digest(&key)),
            "Pepper { number: 1, .. } KeyDigest(…)"
        );
        assert_eq!(both.and_older(a).unwrap_err(), PepperError::SameNumber);
        assert_eq!(Pepper::new(1, &[0; 31]).unwrap_err(), PepperError::Short);
    }
}
