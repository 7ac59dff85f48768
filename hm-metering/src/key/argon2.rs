//! Keys as Argon2id hashes (RFC 9106).

use std::fmt;

use ::argon2::password_hash::phc::PasswordHash;
use ::argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use ::argon2::{Algorithm, Argon2, Params, Version};

use super::digest::{KeyDigest, Pepper, Peppers};
use super::hasher::{HashCheck, HashError, KeyHash, KeyHasher, SlowHash};
use super::secret::PresentedKey;

/// How many characters of a key's body it is found by: 71 of its 196 random bits. The other 125 are in the slow hash only.
const LOOK_UP_LEN: usize = 12;
/// Goes before them, so that no digest of a whole key can be the same.
const LOOK_UP: &[u8] = b"look-up\0";
const MOST_KIB: u32 = 256 * 1024;
const MOST_PASSES: u32 = 64;
const MOST_LANES: u32 = 64;

/// Keeps keys as Argon2id hashes.
///
/// A key is found by an HMAC of its first characters and proved by the slow hash. What is hashed is the key's HMAC under a
/// pepper, so a stolen table alone can't be tried against guesses. Keys that were kept by [`Peppers`] still match, and are
/// outdated: they get a slow hash when they are next used.
///
/// A comparison takes tens of milliseconds of a processor. The engine makes one for each key that it does not have in
/// memory, and when a key or its account has changed; requests with keys in memory take no part of it.
///
/// ```
/// # use hm_metering::{KeyStore, Pepper, Peppers, StoredKeyVerifier};
/// # use hm_metering::key::Argon2Hasher;
/// # fn verifier(store: impl KeyStore) -> Result<StoredKeyVerifier, Box<dyn std::error::Error>> {
/// let peppers = Peppers::new(Pepper::new(1, b"at least thirty-two secret bytes")?);
/// let hasher = Argon2Hasher::new(peppers).with_cost(19 * 1024, 2, 1)?;
/// Ok(StoredKeyVerifier::new(store, hasher))
/// # }
/// ```
#[derive(Clone)]
pub struct Argon2Hasher {
    peppers: Peppers,
    argon2: Argon2<'static>,
}

impl Argon2Hasher {
    /// At the least cost that OWASP recommends: 19 MiB, two passes, one lane.
    #[must_use]
    pub fn new(peppers: Peppers) -> Self {
        Self {
            peppers,
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default()),
        }
    }

    /// At another cost. Keys that are kept at another one still match, and are outdated.
    ///
    /// # Errors
    /// [`HashError::Failed`] for what Argon2 does not allow; [`HashError::Damaged`] beyond 256 MiB, 64 passes or 64 lanes,
    /// which is also the most that is believed of what a store gives back.
    pub fn with_cost(mut self, memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, HashError> {
        let params =
            Params::new(memory_kib, passes, lanes, None).map_err(|error| HashError::Failed(error.into()))?;
        check_cost(&params)?;
        self.argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        Ok(self)
    }

    fn look_ups(&self, key: &PresentedKey) -> impl Iterator<Item = KeyDigest> {
        self.peppers.all().map(|pepper| look_up(pepper, key))
    }
}

fn look_up(pepper: &Pepper, key: &PresentedKey) -> KeyDigest {
    let text = key.expose();
    let body = text.rfind('_').map_or(0, |at| at + 1);
    let first = text.get(..body + LOOK_UP_LEN).unwrap_or(text);
    pepper.digest_parts([LOOK_UP, first.as_bytes()])
}

fn check_cost(params: &Params) -> Result<(), HashError> {
    if params.m_cost() > MOST_KIB || params.t_cost() > MOST_PASSES || params.p_cost() > MOST_LANES {
        return Err(HashError::Damaged);
    }
    Ok(())
}

impl KeyHasher for Argon2Hasher {
    fn digests(&self, key: &PresentedKey) -> Vec<KeyDigest> {
        let mut digests: Vec<_> = self.look_ups(key).collect();
        digests.extend(self.peppers.digests(key));
        digests
    }

    fn hash(&self, key: &PresentedKey) -> Result<KeyHash, HashError> {
        let pepper = self.peppers.current();
        let hash: PasswordHash = self
            .argon2
            .hash_password(pepper.digest(key).as_bytes())
            .map_err(|error| HashError::Failed(error.into()))?;
        Ok(KeyHash {
            digest: look_up(pepper, key),
            pepper: pepper.number(),
            slow: Some(SlowHash::new(hash.to_string())?),
        })
    }

    fn check(
        &self,
        key: &PresentedKey,
        digest: &KeyDigest,
        slow: Option<&SlowHash>,
    ) -> Result<HashCheck, HashError> {
        let found = self.look_ups(key).position(|made| made == *digest);
        let Some((position, pepper)) = found.and_then(|at| Some((at, self.peppers.all().nth(at)?))) else {
            let kept_quickly = self.peppers.digests(key).contains(digest);
            return Ok(if kept_quickly {
                HashCheck::Outdated
            } else {
                HashCheck::Differs
            });
        };
        let slow = slow.ok_or(HashError::Damaged)?;
        let kept = PasswordHash::new(slow.expose()).map_err(|_| HashError::Damaged)?;
        let params = Params::try_from(&kept).map_err(|_| HashError::Damaged)?;
        check_cost(&params)?;
        match self.argon2.verify_password(pepper.digest(key).as_bytes(), &kept) {
            Ok(()) => {
                let own = self.argon2.params();
                let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
                let is_current = position == 0 && cost(&params) == cost(own);
                Ok(if is_current {
                    HashCheck::Matches
                } else {
                    HashCheck::Outdated
                })
            }
            Err(Error::PasswordInvalid) => Ok(HashCheck::Differs),
            Err(_) => Err(HashError::Damaged),
        }
    }

    fn is_slow(&self) -> bool {
        true
    }
}

impl fmt::Debug for Argon2Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argon2Hasher")
            .field("peppers", &self.peppers)
            .field("cost", self.argon2.params())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyEnv, KeyFormat};

    fn pepper(number: u16) -> Pepper {
        Pepper::new(number, &[number as u8; 32]).unwrap()
    }

    fn cheap(peppers: Peppers) -> Argon2Hasher {
        Argon2Hasher::new(peppers).with_cost(8, 1, 1).unwrap()
    }

    fn key() -> PresentedKey {
        KeyFormat::default()
            .generate(KeyEnv::Live)
            .unwrap()
            .to_presented()
    }

    /// Another key with the same first characters, which is found under the same digest.
    fn sibling(key: &PresentedKey) -> PresentedKey {
        let mut text = key.expose().to_owned();
        let last = if text.ends_with('a') { "b" } else { "a" };
        text.replace_range(text.len() - 1.., last);
        PresentedKey::new(text)
    }

    fn check(hasher: &Argon2Hasher, key: &PresentedKey, kept: &KeyHash) -> HashCheck {
        assert!(hasher.digests(key).contains(&kept.digest));
        hasher.check(key, &kept.digest, kept.slow.as_ref()).unwrap()
    }

    #[test]
    fn the_whole_key_has_to_match() {
        let hasher = cheap(Peppers::new(pepper(1)));
        let key = key();
        let kept = hasher.hash(&key).unwrap();
        assert!(
            kept.slow
                .as_ref()
                .unwrap()
                .expose()
                .starts_with("$argon2id$v=19$m=8,t=1,p=1$")
        );
        assert_eq!(check(&hasher, &key, &kept), HashCheck::Matches);
        assert_eq!(check(&hasher, &sibling(&key), &kept), HashCheck::Differs);
        let other = hasher.hash(&key).unwrap();
        assert!(
            other.digest == kept.digest && other.slow != kept.slow,
            "salts differ"
        );
    }

    #[test]
    fn another_pepper_or_cost_is_outdated_and_an_unknown_pepper_is_not_found() {
        let key = key();
        let kept = cheap(Peppers::new(pepper(1))).hash(&key).unwrap();
        let rotated = cheap(Peppers::new(pepper(2)).and_older(pepper(1)).unwrap());
        assert_eq!(check(&rotated, &key, &kept), HashCheck::Outdated);
        assert_eq!(check(&rotated, &sibling(&key), &kept), HashCheck::Differs);
        assert_eq!(
            check(&rotated, &key, &rotated.hash(&key).unwrap()),
            HashCheck::Matches
        );
        let dearer = cheap(Peppers::new(pepper(1))).with_cost(16, 1, 1).unwrap();
        assert_eq!(check(&dearer, &key, &kept), HashCheck::Outdated);
        assert!(
            !cheap(Peppers::new(pepper(2)))
                .digests(&key)
                .contains(&kept.digest)
        );
    }

    #[test]
    fn a_key_that_was_kept_quickly_is_outdated() {
        let (peppers, key) = (Peppers::new(pepper(1)), key());
        let kept = KeyHasher::hash(&peppers, &key).unwrap();
        assert_eq!(check(&cheap(peppers), &key, &kept), HashCheck::Outdated);
    }

    #[test]
    fn what_is_damaged_or_too_dear_is_an_error_and_not_a_no() {
        let hasher = cheap(Peppers::new(pepper(1)));
        let key = key();
        let kept = hasher.hash(&key).unwrap();
        let text = kept.slow.as_ref().unwrap().expose();
        for slow in [
            None,
            Some("plain".to_owned()),
            Some(text.replace("m=8", "m=4294967295")),
            Some(text.replace("t=1", "t=65")),
        ] {
            let slow = slow.map(|text| SlowHash::new(text).unwrap());
            let answer = hasher.check(&key, &kept.digest, slow.as_ref());
            assert!(matches!(answer, Err(HashError::Damaged)), "{answer:?}");
        }
        assert!(
            Argon2Hasher::new(Peppers::new(pepper(1)))
                .with_cost(MOST_KIB + 1, 1, 1)
                .is_err()
        );
        assert!(
            Argon2Hasher::new(Peppers::new(pepper(1)))
                .with_cost(1, 1, 1)
                .is_err()
        );
    }

    #[test]
    fn debug_shows_the_cost_and_no_secret() {
        let text = format!("{:?}", cheap(Peppers::new(pepper(0x4242))));
        assert!(text.contains("m_cost: 8") && !text.contains("66, 66"), "{text}");
    }
}
