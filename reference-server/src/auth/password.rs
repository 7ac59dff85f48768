//! Passwords: Argon2id on blocking threads, a few at a time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, spawn_blocking};

use crate::config::PasswordConfig;
use crate::random;
use crate::secret::Secret;

/// Hashes and checks passwords.
///
/// One hash takes tens of milliseconds and megabytes, so only a few run at once, and those who wait give up after a
/// while. A hash that has begun runs to its end even if nobody waits for it any more.
#[derive(Debug)]
pub struct Passwords {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    wait: std::time::Duration,
    nobody: String,
}

/// Why there is no answer about a password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many others were waiting.
    #[error("too many passwords are being checked")]
    Busy,
    /// The stored hash or the cost is wrong.
    #[error("the password can't be hashed: {0}")]
    Hash(password_hash::Error),
    /// The cost is outside what Argon2 allows.
    #[error("the cost of password hashing is not possible: {0}")]
    Cost(argon2::Error),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The thread panicked or the program is ending.
    #[error("the thread that hashes passwords is gone")]
    Thread(#[source] JoinError),
}

impl Passwords {
    /// Prepares the hash that unknown addresses are compared with, which takes as long as one hash.
    ///
    /// # Errors
    ///
    /// Argon2 does not accept the cost.
    pub fn new(config: &PasswordConfig) -> Result<Self, PasswordError> {
        let params = Params::new(config.memory_kib, config.iterations, config.parallelism, None)
            .map_err(PasswordError::Cost)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let unknown = random::hex::<16>().map_err(PasswordError::Random)?;
        let nobody = hash(&argon2, &unknown)?;
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(config.concurrency)),
            wait: config.wait,
            nobody,
        })
    }

    /// The hash to store, with a new salt, as a PHC string.
    ///
    /// # Errors
    ///
    /// [`PasswordError::Busy`] when its turn does not come in time.
    pub async fn hash(&self, password: Secret) -> Result<String, PasswordError> {
        let turn = self.turn().await?;
        let argon2 = self.argon2.clone();
        spawn_blocking(move || {
            let _turn = turn;
            hash(&argon2, &password)
        })
        .await
        .map_err(PasswordError::Thread)?
    }

    /// Whether the password belongs to the hash. Without a hash the answer is no, and takes as long.
    ///
    /// # Errors
    ///
    /// [`PasswordError::Busy`] when its turn does not come in time; a stored hash that is no PHC string.
    pub async fn verify(&self, password: Secret, stored: Option<String>) -> Result<bool, PasswordError> {
        let turn = self.turn().await?;
        let argon2 = self.argon2.clone();
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let fits = spawn_blocking(move || {
            let _turn = turn;
            verify(&argon2, &password, &stored)
        })
        .await
        .map_err(PasswordError::Thread)??;
        Ok(fits && is_known)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, PasswordError> {
        let turn = tokio::time::timeout(self.wait, Arc::clone(&self.turns).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or(PasswordError::Busy)
    }
}

fn hash(argon2: &Argon2<'_>, password: &Secret) -> Result<String, PasswordError> {
    let hash: PasswordHash = argon2
        .hash_password(password.expose().as_bytes())
        .map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

fn verify(argon2: &Argon2<'_>, password: &Secret, stored: &str) -> Result<bool, PasswordError> {
    let stored =
        PasswordHash::new(stored).map_err(|_| PasswordError::Hash(password_hash::Error::EncodingInvalid))?;
    match argon2.verify_password(password.expose().as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(PasswordError::Hash(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    fn cheap() -> PasswordConfig {
        PasswordConfig {
            memory_kib: 8,
            iterations: 1,
            parallelism: 1,
            concurrency: 1,
            wait: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn the_shipped_cost_is_argon2id_with_19_mib_and_two_passes() {
        let config = Config::parse("", Vec::new()).unwrap().auth.password;
        let passwords = Passwords::new(&config).unwrap();
        let hash = passwords.hash(Secret::new("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(
            passwords
                .verify(Secret::new("correct horse"), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify(Secret::new("correct house"), Some(hash))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn nobody_has_no_password_at_the_same_cost() {
        let passwords = Passwords::new(&cheap()).unwrap();
        assert!(passwords.nobody.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert!(!passwords.verify(Secret::new("anything"), None).await.unwrap());
    }

    #[tokio::test]
    async fn salts_differ() {
        let passwords = Passwords::new(&cheap()).unwrap();
        let one = passwords.hash(Secret::new("same")).await.unwrap();
        let two = passwords.hash(Secret::new("same")).await.unwrap();
        assert_ne!(one, two);
    }

    #[tokio::test]
    async fn those_who_wait_too_long_are_told() {
        let passwords = Passwords::new(&cheap()).unwrap();
        let _all = passwords.turn().await.unwrap();
        let refused = passwords.hash(Secret::new("late")).await;
        assert!(matches!(refused, Err(PasswordError::Busy)));
    }

    #[tokio::test]
    async fn a_damaged_hash_is_an_error_and_not_a_no() {
        let passwords = Passwords::new(&cheap()).unwrap();
        let answer = passwords
            .verify(Secret::new("x"), Some("plain text".to_owned()))
            .await;
        assert!(matches!(answer, Err(PasswordError::Hash(_))));
    }
}
