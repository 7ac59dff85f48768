//! Keys that an earlier system kept as bcrypt hashes.

use std::fmt;
use std::str::FromStr;

use ::bcrypt::HashParts;

use super::digest::{KeyDigest, Peppers};
use super::hasher::{HashCheck, HashError, KeyHash, KeyHasher, SlowHash};
use super::secret::PresentedKey;

/// Goes before the start of a key, so that no digest of a whole key can be the same.
const LOOK_UP: &[u8] = b"bcrypt look-up\0";
/// Each step doubles the time. This one takes about a second, and nobody may make a server take longer.
const MOST_COST: u32 = 14;
/// bcrypt reads no further, so two longer keys with the same beginning would be taken for one.
const MOST_BYTES: usize = 72;

/// Accepts keys that an earlier system kept as bcrypt hashes, and keeps them as [`Peppers`] do from their first use on.
///
/// A bcrypt hash can't be looked up. Such a key is found by an HMAC of its first characters, which must be different for
/// each key, and proved by the hash, once: it is then outdated, and [`StoredKeyVerifier`](crate::StoredKeyVerifier) keeps
/// it anew. When no record with a slow hash is left, use the peppers alone again. Keys of another shape than ours have to
/// be let in by [`StoredKeyVerifier::with_older_form`](crate::StoredKeyVerifier::with_older_form).
///
/// To bring such keys in, keep for each the digest that [`LegacyBcrypt::found_by`] answers, and its hash as
/// [`NewKey::slow_hash`](crate::keys::NewKey).
///
/// ```
/// # use hm_metering::{KeyStore, Pepper, Peppers, StoredKeyVerifier};
/// # use hm_metering::key::LegacyBcrypt;
/// # fn verifier(store: impl KeyStore) -> Result<StoredKeyVerifier, Box<dyn std::error::Error>> {
/// let peppers = Peppers::new(Pepper::new(1, b"at least thirty-two secret bytes")?);
/// let verifier = StoredKeyVerifier::new(store, LegacyBcrypt::new(peppers, 16)).with_older_form("sk_", 20..=72);
/// # Ok(verifier)
/// # }
/// ```
#[derive(Clone)]
pub struct LegacyBcrypt {
    peppers: Peppers,
    start: usize,
}

impl LegacyBcrypt {
    /// Such keys are found by their first `start` bytes, at least one. Others are kept and compared as `peppers` do.
    #[must_use]
    pub fn new(peppers: Peppers, start: usize) -> Self {
        Self {
            peppers,
            start: start.max(1),
        }
    }

    /// How many bytes of a key it is found by.
    #[must_use]
    pub const fn start(&self) -> usize {
        self.start
    }

    /// Whether `hash` is a bcrypt hash at a cost that is compared, at most 14.
    #[must_use]
    pub fn can_check(hash: &SlowHash) -> bool {
        HashParts::from_str(hash.expose()).is_ok_and(|parts| parts.get_cost() <= MOST_COST)
    }

    /// What a key is found by that begins with `start`; what is longer than the start is left out.
    #[must_use]
    pub fn found_by(&self, start: &str) -> KeyDigest {
        self.peppers.current().digest_parts([LOOK_UP, self.cut(start)])
    }

    fn cut<'a>(&self, text: &'a str) -> &'a [u8] {
        let bytes = text.as_bytes();
        bytes.get(..self.start).unwrap_or(bytes)
    }
}

impl KeyHasher for LegacyBcrypt {
    fn digests(&self, key: &PresentedKey) -> Vec<KeyDigest> {
        let start = self.cut(key.expose());
        let mut digests = self.peppers.digests(key);
        digests.extend(
            self.peppers
                .all()
                .map(|pepper| pepper.digest_parts([LOOK_UP, start])),
        );
        digests
    }

    fn hash(&self, key: &PresentedKey) -> Result<KeyHash, HashError> {
        self.peppers.hash(key)
    }

    fn check(
        &self,
        key: &PresentedKey,
        digest: &KeyDigest,
        slow: Option<&SlowHash>,
    ) -> Result<HashCheck, HashError> {
        let Some(slow) = slow else {
            return KeyHasher::check(&self.peppers, key, digest, None);
        };
        if !Self::can_check(slow) {
            return Err(HashError::Damaged);
        }
        if key.expose().len() > MOST_BYTES {
            return Ok(HashCheck::Differs);
        }
        match ::bcrypt::verify(key.expose(), slow.expose()) {
            Ok(true) => Ok(HashCheck::Outdated),
            Ok(false) => Ok(HashCheck::Differs),
            Err(error) => Err(HashError::Failed(error.into())),
        }
    }

    /// As long as any key may need a slow comparison, all are made where those belong.
    fn is_slow(&self) -> bool {
        true
    }
}

impl fmt::Debug for LegacyBcrypt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LegacyBcrypt")
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Pepper;

    fn hasher() -> LegacyBcrypt {
        LegacyBcrypt::new(Peppers::new(Pepper::new(1, &[7; 32]).unwrap()), 8)
    }

    fn kept(text: &str) -> SlowHash {
        SlowHash::new(::bcrypt::hash(text, 4).unwrap()).unwrap()
    }

    #[test]
    fn a_key_is_found_by_its_start_proved_by_its_hash_and_outdated() {
        let (hasher, key) = (hasher(), PresentedKey::new("sk_12345_the rest"));
        let digest = hasher.found_by("sk_12345");
        assert!(hasher.digests(&key).contains(&digest));
        let slow = kept("sk_12345_the rest");
        assert_eq!(
            hasher.check(&key, &digest, Some(&slow)).unwrap(),
            HashCheck::Outdated
        );
        let other = PresentedKey::new("sk_12345_another");
        assert_eq!(
            hasher.check(&other, &digest, Some(&slow)).unwrap(),
            HashCheck::Differs
        );
        let anew = hasher.hash(&key).unwrap();
        assert_eq!(anew.slow, None);
        assert!(hasher.digests(&key).contains(&anew.digest));
        assert_eq!(
            hasher.check(&key, &anew.digest, None).unwrap(),
            HashCheck::Matches
        );
        // The start alone proves nothing.
        assert_eq!(hasher.check(&key, &digest, None).unwrap(), HashCheck::Differs);
    }

    #[test]
    fn a_key_that_bcrypt_would_cut_does_not_match() {
        let hasher = hasher();
        let long = "k".repeat(MOST_BYTES + 1);
        let slow = kept(&"k".repeat(MOST_BYTES));
        let key = PresentedKey::new(long.as_str());
        let digest = hasher.found_by(&long);
        assert_eq!(
            hasher.check(&key, &digest, Some(&slow)).unwrap(),
            HashCheck::Differs
        );
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_damaged() {
        let (hasher, key) = (hasher(), PresentedKey::new("sk_12345_x"));
        let digest = hasher.found_by("sk_12345");
        let dear = kept("sk_12345_x").expose().replace("$04$", "$31$");
        for text in ["$argon2id$x", "nonsense", &dear] {
            let slow = SlowHash::new(text).unwrap();
            assert!(matches!(
                hasher.check(&key, &digest, Some(&slow)),
                Err(HashError::Damaged)
            ));
        }
    }
}
