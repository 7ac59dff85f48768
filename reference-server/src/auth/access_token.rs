//! Access tokens: short-lived JWTs, signed with HS256 and nothing else.

use std::fmt;
use std::time::Duration;

use hm_metering::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::AuthConfig;
use crate::secret::Secret;

/// A token of another replica may be this much ahead of our clock.
const CLOCK_SKEW_S: i64 = 60;

/// Signs and verifies access tokens.
pub struct AccessTokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    issuer: String,
    audience: String,
    ttl: Duration,
}

/// Whom a verified token stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The person.
    pub user_id: Uuid,
    /// The session that the token was issued in.
    pub session_id: Uuid,
}

#[derive(Deserialize, Serialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uuid,
    sid: Uuid,
    jti: Uuid,
    iat: i64,
    exp: i64,
}

impl AccessTokens {
    /// Tokens of this server, signed with the secret.
    #[must_use]
    pub fn new(config: &AuthConfig, secret: &Secret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[&config.issuer]);
        validation.set_audience(&[&config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The library would ask the system for the time; ours is an argument.
        validation.validate_exp = false;
        let secret = secret.expose().as_bytes();
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            validation,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            ttl: config.access_token_ttl,
        }
    }

    /// How long a token is good for.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A token for the person that ends [`ttl`](Self::ttl) from `now`.
    ///
    /// # Errors
    ///
    /// The crypto library fails.
    pub fn issue(&self, identity: Identity, now: Timestamp) -> Result<Secret, jsonwebtoken::errors::Error> {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: identity.user_id,
            sid: identity.session_id,
            jti: Uuid::now_v7(),
            iat: seconds(now),
            exp: seconds(now.plus(self.ttl)),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map(Secret::new)
    }

    /// Whom the token stands for at `now`; `None` for everything that is not one of our living tokens.
    #[must_use]
    pub fn verify(&self, token: &str, now: Timestamp) -> Option<Identity> {
        let claims = decode::<Claims>(token, &self.verifying, &self.validation)
            .ok()?
            .claims;
        let now = seconds(now);
        let lives = claims.exp > now && claims.iat <= now.saturating_add(CLOCK_SKEW_S);
        lives.then_some(Identity {
            user_id: claims.sub,
            session_id: claims.sid,
        })
    }
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens")
            .field("issuer", &self.issuer)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn tokens(secret: &str, change: impl Fn(&mut AuthConfig)) -> AccessTokens {
        let mut config = Config::parse("", Vec::new()).unwrap().auth;
        change(&mut config);
        AccessTokens::new(&config, &Secret::new(secret))
    }

    fn ours() -> AccessTokens {
        tokens("a secret of this server", |_| {})
    }

    fn somebody() -> Identity {
        Identity {
            user_id: Uuid::now_v7(),
            session_id: Uuid::now_v7(),
        }
    }

    fn noon() -> Timestamp {
        Timestamp::from_micros(1_772_366_400_000_000)
    }

    #[test]
    fn a_token_is_good_until_it_expires() {
        let identity = somebody();
        let token = ours().issue(identity, noon()).unwrap();
        assert_eq!(ours().verify(token.expose(), noon()), Some(identity));
        assert_eq!(
            ours().verify(token.expose(), noon().plus(Duration::from_secs(899))),
            Some(identity)
        );
        assert_eq!(
            ours().verify(token.expose(), noon().plus(Duration::from_secs(900))),
            None
        );
        assert_eq!(
            ours().verify(token.expose(), noon().minus(Duration::from_secs(61))),
            None
        );
    }

    #[test]
    fn tokens_of_others_and_for_others_are_refused() {
        for foreign in [
            tokens("another secret", |_| {}),
            tokens("a secret of this server", |config| {
                config.audience = "elsewhere".to_owned()
            }),
            tokens("a secret of this server", |config| {
                config.issuer = "somebody".to_owned()
            }),
        ] {
            let token = foreign.issue(somebody(), noon()).unwrap();
            assert_eq!(ours().verify(token.expose(), noon()), None);
        }
    }

    #[test]
    fn another_algorithm_is_refused_even_with_the_right_key() {
        let key = EncodingKey::from_secret(b"a secret of this server");
        let claims = Claims {
            iss: "hm-server".to_owned(),
            aud: "hm-server".to_owned(),
            sub: Uuid::now_v7(),
            sid: Uuid::now_v7(),
            jti: Uuid::now_v7(),
            iat: seconds(noon()),
            exp: seconds(noon()) + 60,
        };
        let right = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        assert!(ours().verify(&right, noon()).is_some());
        let wrong = encode(&Header::new(Algorithm::HS512), &claims, &key).unwrap();
        assert_eq!(ours().verify(&wrong, noon()), None);
    }

    #[test]
    fn unsigned_and_tampered_tokens_are_refused() {
        let token = ours().issue(somebody(), noon()).unwrap();
        let [_, claims, signature] = token.expose().split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        // {"typ":"JWT","alg":"none"} and {"alg":"None"}
        for header in ["eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0"] {
            assert_eq!(ours().verify(&format!("{header}.{claims}."), noon()), None);
            assert_eq!(
                ours().verify(&format!("{header}.{claims}.{signature}"), noon()),
                None
            );
        }
        for position in 0..token.expose().len() {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[position] = if bytes[position] == b'A' { b'Q' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            // The last character of the signature has two bits that mean nothing.
            if position + 1 < changed.len() {
                assert_eq!(ours().verify(&changed, noon()), None, "character {position}");
            }
        }
        for garbage in ["", ".", "..", "a.b.c", "🦀"] {
            assert_eq!(ours().verify(garbage, noon()), None);
        }
    }
}
