//! What is kept of a key, and how a presented one is compared with it.

use std::error::Error;
use std::fmt;

use thiserror::Error;

use super::digest::{KeyDigest, Peppers};
use super::secret::PresentedKey;

/// Says what is kept of a key, and compares a presented one with it.
///
/// [`Peppers`] are the usual one: a key has 196 random bits, which nobody guesses, so a quick HMAC is enough.
/// `Argon2Hasher`, with the feature `argon2`, is for those whose policy demands a slow hash.
///
/// A hasher computes and does nothing else: it asks no store, and takes no time but the processor's.
pub trait KeyHasher: Send + Sync + 'static {
    /// The digests that `key` may be found under, at most a few. Quick, whatever else is kept.
    fn digests(&self, key: &PresentedKey) -> Vec<KeyDigest>;

    /// What to keep of `key` from now on. Its digest is one of [`KeyHasher::digests`].
    ///
    /// # Errors
    /// [`HashError`].
    fn hash(&self, key: &PresentedKey) -> Result<KeyHash, HashError>;

    /// Whether `key` is the one that was kept under `digest`, with `slow` beside it.
    ///
    /// # Errors
    /// [`HashError::Damaged`], when nobody can tell from what was kept.
    fn check(
        &self,
        key: &PresentedKey,
        digest: &KeyDigest,
        slow: Option<&SlowHash>,
    ) -> Result<HashCheck, HashError>;

    /// Whether [`KeyHasher::hash`] and [`KeyHasher::check`] take milliseconds or more. They are then called on threads for
    /// such work, a few at a time.
    fn is_slow(&self) -> bool {
        false
    }
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash {
    /// What it is found by.
    pub digest: KeyDigest,
    /// The number of the pepper that the digest was made with.
    pub pepper: u16,
    /// A slow hash of the whole key, where the digest alone does not prove it.
    pub slow: Option<SlowHash>,
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashCheck {
    /// It is another key.
    Differs,
    /// It is the key.
    Matches,
    /// It is the key, and would be kept differently today: under another pepper, at another cost.
    Outdated,
}

/// Why a key can't be hashed or compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HashError {
    /// The operating system has no randomness to give.
    #[error("the operating system has no randomness to give")]
    NoRandomness(#[source] getrandom::Error),
    /// What was kept is no hash, or one at a cost that nobody would choose.
    #[error("the hash that was kept of a key can't be used")]
    Damaged,
    /// The algorithm can't do it, for example because its cost is out of range.
    #[error("a key can't be hashed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

impl From<getrandom::Error> for HashError {
    fn from(error: getrandom::Error) -> Self {
        Self::NoRandomness(error)
    }
}

/// A slow hash of a key, as a text such as a PHC string. Its `Debug` is mute.
#[derive(Clone, PartialEq, Eq)]
pub struct SlowHash(String);

impl SlowHash {
    /// How many bytes it may have.
    pub const MAX_LEN: usize = 255;

    /// From what a hasher made, or a store kept.
    ///
    /// # Errors
    /// [`HashError::Damaged`] unless it is 1 to [`SlowHash::MAX_LEN`] printable ASCII characters.
    pub fn new(text: impl Into<String>) -> Result<Self, HashError> {
        let text = text.into();
        let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_printable && (1..=Self::MAX_LEN).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(HashError::Damaged)
        }
    }

    /// What a store keeps. Don't log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SlowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlowHash(…)")
    }
}

/// HMAC-SHA-256 under the current pepper; what was made with an older one still matches, and is outdated.
impl KeyHasher for Peppers {
    fn digests(&self, key: &PresentedKey) -> Vec<KeyDigest> {
        Self::digests(self, key)
    }

    fn hash(&self, key: &PresentedKey) -> Result<KeyHash, HashError> {
        Ok(KeyHash {
            digest: self.current().digest(key),
            pepper: self.current().number(),
            slow: None,
        })
    }

    fn check(
        &self,
        key: &PresentedKey,
        digest: &KeyDigest,
        _: Option<&SlowHash>,
    ) -> Result<HashCheck, HashError> {
        // The store's comparison may stop at the first difference; this one does not.
        Ok(match self.digests(key).iter().position(|made| made == digest) {
            Some(0) => HashCheck::Matches,
            Some(_) => HashCheck::Outdated,
            None => HashCheck::Differs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Pepper;

    #[test]
    fn a_key_under_an_older_pepper_matches_and_is_outdated() {
        let [old, new, other] = [1, 2, 3].map(|number| Pepper::new(number, &[number as u8; 32]).unwrap());
        let (key, another) = (PresentedKey::new("hm_live_x"), PresentedKey::new("hm_live_y"));
        let hasher = Peppers::new(new.clone()).and_older(old.clone()).unwrap();
        for (digest, expected) in [
            (new.digest(&key), HashCheck::Matches),
            (old.digest(&key), HashCheck::Outdated),
            (other.digest(&key), HashCheck::Differs),
            (new.digest(&another), HashCheck::Differs),
        ] {
            assert_eq!(hasher.check(&key, &digest, None).unwrap(), expected);
        }
        let kept = hasher.hash(&key).unwrap();
        assert_eq!((kept.digest, kept.pepper, kept.slow), (new.digest(&key), 2, None));
    }

    #[test]
    fn a_slow_hash_is_a_short_text_that_nobody_sees() {
        let hash = SlowHash::new("$argon2id$secret").unwrap();
        assert_eq!(format!("{hash:?}"), "SlowHash(…)");
        for wrong in ["", "two words", "ü", "a\0b", &"x".repeat(256)] {
            assert!(
                matches!(SlowHash::new(wrong), Err(HashError::Damaged)),
                "{wrong:?}"
            );
        }
    }
}
