//! A key's place in memory.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip128::SipHasher24;

/// A key's place in memory: a keyed hash under a secret of this process, so that no key is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(super) u128);

/// Half of it is a hash already, which nobody outside can choose.
impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// A map by fingerprint.
pub(super) type FingerprintMap<V> = papaya::HashMap<Fingerprint, V, BuildHasherDefault<AsItIs>>;

/// Takes a number for its own hash.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Fingerprints are written as one number; anything else still gets a hash of sorts.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Makes fingerprints.
pub(crate) struct Fingerprints([u8; 16]);

impl Fingerprints {
    pub(crate) fn from_os() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret)?;
        Ok(Self(secret))
    }

    pub(crate) fn of(&self, key: &[u8]) -> Fingerprint {
        let hasher = SipHasher24::new_with_key(&self.0);
        Fingerprint(hasher.hash(key).as_u128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_depend_on_the_process() {
        let (a, b) = (Fingerprints::from_os().unwrap(), Fingerprints::from_os().unwrap());
        assert!(a.of(b"hm_live_x") == a.of(b"hm_live_x"));
        assert!(a.of(b"hm_live_x") != a.of(b"hm_live_y"));
        assert!(a.of(b"hm_live_x") != b.of(b"hm_live_x"));
    }
}
