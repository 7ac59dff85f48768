//! Refresh tokens: random, used once, stored as a digest.

use sha2::{Digest, Sha256};

use crate::random;
use crate::secret::Secret;

const PREFIX: &str = "hmr_";
const RANDOM_BYTES: usize = 32;

/// A refresh token as the client has it.
#[derive(Clone, Debug)]
pub struct RefreshToken(Secret);

impl RefreshToken {
    /// A new token with 256 random bits.
    ///
    /// # Errors
    ///
    /// The system has no random numbers to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let random = random::hex::<RANDOM_BYTES>()?;
        Ok(Self(Secret::new(format!("{PREFIX}{}", random.expose()))))
    }

    /// Takes what looks like a token, so that garbage costs no query.
    #[must_use]
    pub fn parse(text: &Secret) -> Option<Self> {
        let digits = text.expose().strip_prefix(PREFIX)?;
        let fits = digits.len() == RANDOM_BYTES * 2
            && digits
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        fits.then(|| Self(text.clone()))
    }

    /// The token itself; do not log it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What is stored. A fast digest is enough for a secret that can't be guessed.
    #[must_use]
    pub fn digest(&self) -> String {
        random::to_hex(&Sha256::digest(self.0.expose().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_survive_parsing() {
        let (one, two) = (
            RefreshToken::generate().unwrap(),
            RefreshToken::generate().unwrap(),
        );
        assert_ne!(one.expose(), two.expose());
        let parsed = RefreshToken::parse(&Secret::new(one.expose())).unwrap();
        assert_eq!(parsed.digest(), one.digest());
        assert!(!one.digest().contains(&one.expose()[4..20]));
        assert!(!format!("{one:?}").contains(one.expose()));
    }

    #[test]
    fn garbage_is_not_a_token() {
        for garbage in [
            "",
            "hmr_",
            "hmr_xyz",
            &"a".repeat(68),
            &format!("hmr_{}", "G".repeat(64)),
        ] {
            assert!(RefreshToken::parse(&Secret::new(garbage)).is_none(), "{garbage}");
        }
    }
}
