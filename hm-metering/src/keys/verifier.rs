//! Turning a presented key into a principal: the trait.

use async_trait::async_trait;

use super::record::{ChangeCursor, ChangePage, KeyUse};
use crate::error::StoreResult;
use crate::id::KeyId;
use crate::key::PresentedKey;
use crate::principal::Principal;
use crate::quota::StoreIdentity;
use crate::time::Timestamp;

/// Why a key is not accepted. Outside all of them look alike; logs and metrics tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidKey {
    /// It can't be a key at all.
    Malformed,
    /// No such key.
    Unknown,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// Its owner switched it off, or its account is closed.
    Disabled,
    /// It has more scopes than a key may have: [`Principal::SCOPES_BYTES_MAX`].
    TooManyScopes,
    /// It has quotas of its own, and no id to count them by.
    QuotasWithoutId,
}

impl InvalidKey {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Disabled => "disabled",
            Self::TooManyScopes => "too_many_scopes",
            Self::QuotasWithoutId => "quotas_without_id",
        }
    }
}

/// A key that is accepted.
#[derive(Clone, Debug)]
pub struct Verified {
    /// Who it speaks for.
    pub principal: Principal,
    /// From when the verdict holds; none for always.
    pub not_before: Option<Timestamp>,
    /// Until when the verdict holds, this moment excluded; none for as long as nothing changes.
    pub expires_at: Option<Timestamp>,
    /// Until when the principal's plan holds, this moment excluded; none for as long as nothing changes. From then on the
    /// verifier is asked again.
    pub plan_until: Option<Timestamp>,
    /// The version of the record it was made from, to compare with the feed's; 0 where there are no versions.
    pub version: u64,
}

impl Verified {
    /// A key that speaks for `principal` without an end, from a verifier without versions.
    #[must_use]
    pub const fn new(principal: Principal) -> Self {
        Self {
            principal,
            not_before: None,
            expires_at: None,
            plan_until: None,
            version: 0,
        }
    }
}

/// What a verifier says of a key. "No" is a verdict; "cannot tell" is an error.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Accepted.
    Valid(Verified),
    /// Not accepted.
    Invalid {
        /// Why.
        reason: InvalidKey,
        /// The key, if there is one.
        key: Option<KeyId>,
    },
}

/// Says whom a presented key speaks for.
///
/// The engine keeps verdicts in memory and asks only for keys that it has not seen, or whose verdict may be out of
/// date. It asks in a task of its own, with a deadline, once for many simultaneous requests with one key.
///
/// A change in the feed concerns one text for each key: a verifier that accepts several texts for one [`KeyId`], such as
/// tokens that are issued anew, should name no key in its principals, or have no feed.
#[async_trait]
pub trait KeyVerifier: Send + Sync + 'static {
    /// Whether `presented` can be a key at all, judged by its text alone. It is asked for every key that is not in memory
    /// and must be quick. Garbage that it refuses never costs a look-up.
    fn is_well_formed(&self, presented: &str) -> bool;

    /// Whether `bearer` begins like one of our keys; tells keys from other bearer tokens.
    fn claims(&self, bearer: &str) -> bool;

    /// The verdict on `presented` at `now`.
    ///
    /// # Errors
    /// When the verifier can't tell, for example because its store is down.
    async fn verify(&self, presented: &PresentedKey, now: Timestamp) -> StoreResult<Verdict>;

    /// What changed after `cursor`, as in [`KeyStore::changes_since`](super::KeyStore::changes_since); none when the
    /// verifier has no such feed. Verdicts are then asked for again when the staleness bound is over.
    ///
    /// # Errors
    /// When the feed can't be read. Verdicts then end with the staleness bound.
    async fn changes_since(
        &self,
        cursor: Option<ChangeCursor>,
        limit: usize,
    ) -> StoreResult<Option<ChangePage>> {
        let _ = (cursor, limit);
        Ok(None)
    }

    /// Whether it wants to hear by [`KeyVerifier::mark_used`] of the keys that were used, when events go to the sink `ledger`.
    fn wants_uses(&self, ledger: Option<StoreIdentity>) -> bool {
        let _ = ledger;
        false
    }

    /// Hears of the keys that were used, as in [`KeyStore::mark_used`](super::KeyStore::mark_used): for many requests at a time,
    /// once they are in the ledger.
    ///
    /// # Errors
    /// When the uses can't be counted. They are told again, unless the call took too long.
    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        let _ = uses;
        Ok(())
    }

    /// Waits until the feed may hold something after `cursor`, as in
    /// [`KeyStore::await_change`](super::KeyStore::await_change).
    async fn await_change(&self, cursor: ChangeCursor) {
        let _ = cursor;
        std::future::pending().await
    }
}
