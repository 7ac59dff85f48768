//! Making keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::ip_allow::IpAllow;
use super::limits::KeyLimits;
use super::quotas::KeyQuotas;
use super::record::NewKey;
use crate::id::{AccountId, IdSource, KeyId, UserId};
use crate::key::{HashError, IssuedKey, KeyEnv, KeyFormat, KeyHasher};
use crate::time::Timestamp;

/// Makes keys and the records to keep of them.
///
/// ```
/// # use hm_metering::{AccountId, KeyEnv, Pepper, Peppers, UserId, Timestamp};
/// # use hm_metering::keys::KeyIssuer;
/// # let (account, user) = (AccountId::from_uuid(uuid::Uuid::nil()), UserId::from_uuid(uuid::Uuid::nil()));
/// let issuer = KeyIssuer::new(Peppers::new(Pepper::new(1, b"at least thirty-two secret bytes")?))?;
/// let (key, mut record) = issuer.issue(account, user, "build server", KeyEnv::Live, Timestamp::from_micros(0))?;
/// record.scopes.push("facts:read".to_owned());
/// // Show `key.expose()` to its owner this once, and give `record` to a `KeyStore`.
/// assert!(key.expose().starts_with(&record.prefix));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyIssuer {
    format: KeyFormat,
    hasher: Arc<dyn KeyHasher>,
    ids: IdSource,
}

impl KeyIssuer {
    /// Keys that begin with `hm_`, kept as `hasher` says, such as [`Peppers`](crate::Peppers).
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new(hasher: impl KeyHasher) -> Result<Self, getrandom::Error> {
        Ok(Self {
            format: KeyFormat::default(),
            hasher: Arc::new(hasher),
            ids: IdSource::from_os()?,
        })
    }

    /// Keys of another format.
    #[must_use]
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    /// A new key that is valid at once, for ever and everywhere, without scopes and limits of its own. Change the record for anything else before it is
    /// kept. With a slow hasher this takes as long as a hash: call it on a thread for such work.
    ///
    /// # Errors
    /// [`HashError`], such as when the operating system has no randomness to give.
    pub fn issue(
        &self,
        account: AccountId,
        user: UserId,
        name: &str,
        env: KeyEnv,
        now: Timestamp,
    ) -> Result<(IssuedKey, NewKey), HashError> {
        let key = self.format.generate(env)?;
        let hash = self.hasher.hash(&key.to_presented())?;
        let record = NewKey {
            id: KeyId::from_uuid(self.ids.next(now)),
            account,
            user,
            digest: hash.digest,
            pepper: hash.pepper,
            slow_hash: hash.slow,
            name: name.to_owned(),
            prefix: key.display_prefix().to_owned(),
            last4: key.last4().to_owned(),
            env,
            scopes: Vec::new(),
            ip_allow: IpAllow::default(),
            limits: KeyLimits::default(),
            quotas: KeyQuotas::default(),
            not_before: None,
            expires_at: None,
            metadata: BTreeMap::new(),
            created_at: now,
        };
        Ok((key, record))
    }
}

impl fmt::Debug for KeyIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyIssuer")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
