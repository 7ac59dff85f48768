//! The verifier over a [`KeyStore`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::KeyStore;
use super::record::{ChangeCursor, ChangePage, StoredKey};
use super::verifier::{InvalidKey, KeyVerifier, Verdict, Verified};
use crate::error::StoreResult;
use crate::key::{KeyFormat, Peppers, PresentedKey};
use crate::principal::Principal;
use crate::time::Timestamp;

/// Accepts the keys of a [`KeyStore`]: parses, digests, looks up, compares, checks state and dates.
#[derive(Clone)]
pub struct StoredKeyVerifier {
    store: Arc<dyn KeyStore>,
    format: KeyFormat,
    peppers: Peppers,
}

impl StoredKeyVerifier {
    /// Over `store`, for keys that begin with `hm_`.
    #[must_use]
    pub fn new(store: impl KeyStore, peppers: Peppers) -> Self {
        Self {
            store: Arc::new(store),
            format: KeyFormat::default(),
            peppers,
        }
    }

    /// For keys of another format.
    #[must_use]
    pub fn with_format(mut self, format: KeyFormat) -> Self {
        self.format = format;
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
                .with_scopes(record.scopes),
            not_before: record.not_before,
            expires_at: record.expires_at,
            plan_until,
            version: record.version,
        })
    }
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
        self.format.parse(presented).is_ok()
    }

    fn claims(&self, bearer: &str) -> bool {
        self.format.claims(bearer)
    }

    async fn verify(&self, presented: &PresentedKey, now: Timestamp) -> StoreResult<Verdict> {
        if !self.is_well_formed(presented.expose()) {
            return Ok(Verdict::Invalid {
                reason: InvalidKey::Malformed,
                key: None,
            });
        }
        let digests = self.peppers.digests(presented);
        match self.store.find_by_digest(&digests).await? {
            // The store's comparison may stop at the first difference; this one does not.
            Some(key) if digests.contains(&key.digest) => Ok(Self::judge(key, now)),
            _ => Ok(Verdict::Invalid {
                reason: InvalidKey::Unknown,
                key: None,
            }),
        }
    }

    async fn changes_since(
        &self,
        cursor: Option<ChangeCursor>,
        limit: usize,
    ) -> StoreResult<Option<ChangePage>> {
        self.store.changes_since(cursor, limit).await.map(Some)
    }
}
