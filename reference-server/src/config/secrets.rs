//! Secrets as the environment gives them.

use crate::secret::Secret;

use super::Environment;
use super::reader::Reader;

const LEAST_BYTES: usize = 32;
const LEAST_DIFFERENT: usize = 10;

/// Secrets from the environment. In production all but the admin key are present and strong.
#[derive(Clone, Debug)]
pub struct SecretsConfig {
    /// Signs access tokens.
    pub jwt_secret: Option<Secret>,
    /// Mixed into the digest of API keys.
    pub key_pepper: Option<Secret>,
    /// Lets an operator in.
    pub admin_key: Option<Secret>,
}

impl SecretsConfig {
    pub(super) fn read(reader: &mut Reader, environment: Environment) -> Self {
        let required = environment.is_production();
        Self {
            jwt_secret: secret(reader, "JWT_SECRET", environment, required),
            key_pepper: secret(reader, "KEY_PEPPER", environment, required),
            admin_key: secret(reader, "ADMIN_KEY", environment, false),
        }
    }
}

fn secret(reader: &mut Reader, name: &str, environment: Environment, required: bool) -> Option<Secret> {
    let given = reader.variable(name).map(Secret::new);
    match &given {
        None if required => reader.mistake(name, "must be set in production"),
        Some(secret) if environment.is_production() => {
            if let Some(weakness) = weakness(secret.expose().as_bytes()) {
                reader.mistake(name, weakness);
            }
        }
        _ => {}
    }
    given
}

/// Why a secret is too weak. Judged by its looks: length, different characters, repetition.
fn weakness(secret: &[u8]) -> Option<&'static str> {
    if secret.len() < LEAST_BYTES {
        return Some("is too short: at least 32 random characters are needed");
    }
    let mut different = secret.to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() < LEAST_DIFFERENT {
        return Some("has too few different characters to be random");
    }
    let repeats = (1..=secret.len() / 2).any(|period| {
        secret
            .iter()
            .zip(&secret[period..])
            .all(|(earlier, later)| earlier == later)
    });
    repeats.then_some("repeats itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_monotonous_and_repeated_secrets_are_weak() {
        assert!(weakness(b"q8Zt2mV7xPn4Lw9Rk3Yc6Hs1Jd5Fg0Ba").is_none());
        assert!(weakness(b"q8Zt2mV7xPn4Lw9Rk3Yc6Hs1Jd5Fg0B").is_some());
        assert!(weakness(&[b'a'; 64]).is_some());
        assert!(weakness(b"q8Zt2mV7xPn4Lw9Rq8Zt2mV7xPn4Lw9R").is_some());
    }
}
