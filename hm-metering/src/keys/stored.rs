//! The verifier over a [`KeyStore`].

use std::fmt;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::KeyStore;
use super::record::{ChangeCursor, ChangePage, KeyUse, StoredKey};
use super::verifier::{InvalidKey, KeyVerifier, Verdict, Verified};
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::id::KeyId;
use crate::key::{HashCheck, HashError, KeyDigest, KeyFormat, KeyHasher, PresentedKey};
use crate::principal::Principal;
use crate::quota::StoreIdentity;
use crate::time::Timestamp;

/// How many keys are hashed anew at a time. Those beyond that are when they are next looked up.
const REHASHES: usize = 16;
/// How long one may take.
const REHASH_AT_MOST: Duration = Duration::from_secs(10);

/// Accepts the keys of a [`KeyStore`]: parses, digests, looks up, compares, checks state and dates.
///
/// A valid key that is kept under an older pepper, or otherwise not as the hasher would keep it today, is kept anew, in a
/// task of its own that nobody waits for. If that fails, it is tried when the key is next looked up. A key that is not
/// used stays under the old pepper: see [`Peppers`](crate::Peppers) for how to rotate one.
#[derive(Clone)]
pub struct StoredKeyVerifier {
    store: Arc<dyn KeyStore>,
    format: KeyFormat,
    older: Option<OlderForm>,
    hasher: Arc<dyn KeyHasher>,
    slow_turns: Arc<Semaphore>,
    rehash_turns: Arc<Semaphore>,
}

/// What keys of an earlier system look like.
#[derive(Clone)]
struct OlderForm {
    prefix: Arc<str>,
    bytes: RangeInclusive<usize>,
}

impl OlderForm {
    fn fits(&self, text: &str) -> bool {
        text.starts_with(&*self.prefix)
            && self.bytes.contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    }
}

impl StoredKeyVerifier {
    /// Over `store`, for keys that begin with `hm_`. The hasher is the one that keys are issued with, such as
    /// [`Peppers`](crate::Peppers).
    #[must_use]
    pub fn new(store: impl KeyStore, hasher: impl KeyHasher) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        Self {
            store: Arc::new(store),
            format: KeyFormat::default(),
            older: None,
            hasher: Arc::new(hasher),
            slow_turns: Arc::new(Semaphore::new(processors)),
            rehash_turns: Arc::new(Semaphore::new(REHASHES)),
        }
    }

    /// For keys of another format.
    #[must_use]
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.format = format;
        self
    }

    /// Also for keys of an earlier system, which begin with `prefix`, have so many bytes, and are printable ASCII. They have no
    /// checksum that we know, so each one that is made up costs a look-up, within the budget for keys that nobody issued.
    #[must_use]
    pub fn with_older_form(mut self, prefix: &str, bytes: RangeInclusive<usize>) -> Self {
        self.older = Some(OlderForm {
            prefix: prefix.into(),
            bytes,
        });
        self
    }

    /// How many hashes a slow hasher makes at a time, at least one; as many as there are processors, unless said. It is
    /// also how often the memory that one takes may be needed.
    #[must_use]
    pub fn with_slow_hashes(mut self, most: usize) -> Self {
        self.slow_turns = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    fn judge(key: StoredKey, now: Timestamp) -> Verdict {
        let record = &key.record;
        let invalid = |reason| Verdict::Invalid {
            reason,
            key: Some(record.id),
        };
        if record.revoked_at.is_some() {
            return invalid(InvalidKey::Revoked);
        }
        if !record.is_active || !key.account_open {
            return invalid(InvalidKey::Disabled);
        }
        if record.expires_at.is_some_and(|end| end <= now) {
            return invalid(InvalidKey::Expired);
        }
        if record.not_before.is_some_and(|start| now < start) {
            return invalid(InvalidKey::NotYetValid);
        }
        let (plan, plan_until) = key.plan_at(now);
        let principal = Principal::new(record.account, plan.clone(), key.anchor);
        let record = key.record;
        Verdict::Valid(Verified {
            principal: principal
                .with_key(record.id, record.env)
                .with_user(record.user)
                .with_scopes(record.scopes)
                .with_ip_allow(record.ip_allow)
                .with_limits(record.limits)
                .with_quotas(record.quotas),
            not_before: record.not_before,
            expires_at: record.expires_at,
            plan_until,
            version: record.version,
        })
    }

    /// Lets the hasher work: here if it is quick, else on a thread for such work when its turn comes.
    async fn with_hasher<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn KeyHasher) -> Result<T, HashError> + Send + 'static,
    ) -> StoreResult<T> {
        if !self.hasher.is_slow() {
            return work(&*self.hasher).map_err(unhashed);
        }
        let gone = |_| StoreError::new(StoreErrorKind::Unavailable, "hash a key");
        let turn = Arc::clone(&self.slow_turns).acquire_owned().await.map_err(gone)?;
        let hasher = Arc::clone(&self.hasher);
        // The turn goes with the work: it runs to its end even if nobody waits for it any more.
        let worked = spawn_blocking(move || {
            let _turn = turn;
            work(&*hasher)
        });
        match worked.await {
            Ok(result) => result.map_err(unhashed),
            Err(panicked) => {
                Err(StoreError::new(StoreErrorKind::Unexpected, "hash a key").with_source(panicked))
            }
        }
    }

    /// Keeps a key as it would be kept today, in the background.
    fn start_rehash(&self, key: KeyId, presented: &PresentedKey, from: KeyDigest) {
        let turn = Arc::clone(&self.rehash_turns).try_acquire_owned();
        let (Ok(turn), Ok(runtime)) = (turn, Handle::try_current()) else {
            return;
        };
        let (verifier, presented) = (self.clone(), presented.clone());
        runtime.spawn(async move {
            let _turn = turn;
            let rehash = async {
                let hash = verifier
                    .with_hasher(move |hasher| hasher.hash(&presented))
                    .await?;
                verifier.store.rehash(key, &from, &hash).await
            };
            match timeout(REHASH_AT_MOST, rehash).await {
                Ok(Ok(true)) => tracing::debug!(key.id = %key, "a key is kept under another hash"),
                // Somebody else was faster.
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(
                    key.id = %key,
                    error = &error as &dyn std::error::Error,
                    "a key can't be kept under another hash; it stays as it is"
                ),
                Err(_) => tracing::warn!(key.id = %key, "a key can't be kept under another hash in time"),
            }
        });
    }
}

fn unhashed(error: HashError) -> StoreError {
    let kind = match error {
        HashError::Damaged => StoreErrorKind::Corrupt,
        HashError::NoRandomness(_) | HashError::Failed(_) => StoreErrorKind::Unexpected,
    };
    StoreError::new(kind, "hash a key").with_source(error)
}

impl fmt::Debug for StoredKeyVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKeyVerifier")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyVerifier for StoredKeyVerifier {
    fn is_well_formed(&self, presented: &str) -> bool {
        self.format.parse(presented).is_ok() || self.older.as_ref().is_some_and(|older| older.fits(presented))
    }

    fn claims(&self, bearer: &str) -> bool {
        self.format.claims(bearer)
            || self
                .older
                .as_ref()
                .is_some_and(|older| bearer.starts_with(&*older.prefix))
    }

    async fn verify(&self, presented: &PresentedKey, now: Timestamp) -> StoreResult<Verdict> {
        let invalid = |reason| Verdict::Invalid { reason, key: None };
        if !self.is_well_formed(presented.expose()) {
            return Ok(invalid(InvalidKey::Malformed));
        }
        let Some(found) = self.store.find_by_digest(&self.hasher.digests(presented)).await? else {
            return Ok(invalid(InvalidKey::Unknown));
        };
        let (key, digest) = (found.record.id, found.digest);
        let (text, slow) = (presented.clone(), found.slow_hash.clone());
        let check = self
            .with_hasher(move |hasher| hasher.check(&text, &digest, slow.as_ref()))
            .await?;
        if check == HashCheck::Differs {
            return Ok(invalid(InvalidKey::Unknown));
        }
        let verdict = Self::judge(found, now);
        if check == HashCheck::Outdated && matches!(verdict, Verdict::Valid(_)) {
            self.start_rehash(key, presented, digest);
        }
        Ok(verdict)
    }

    async fn changes_since(
        &self,
        cursor: Option<ChangeCursor>,
        limit: usize,
    ) -> StoreResult<Option<ChangePage>> {
        self.store.changes_since(cursor, limit).await.map(Some)
    }

    fn wants_uses(&self, ledger: Option<StoreIdentity>) -> bool {
        let counter = self.store.uses_counted_by();
        counter.is_none() || counter != ledger
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        self.store.mark_used(uses).await
    }

    async fn await_change(&self, cursor: ChangeCursor) {
        self.store.await_change(cursor).await;
    }
}
