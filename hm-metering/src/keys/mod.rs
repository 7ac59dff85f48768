//! Where keys are kept, and how a presented key becomes a [`Principal`](crate::Principal).

mod ip_allow;
mod issuer;
mod limits;
mod quotas;
mod record;
mod source;
mod stored;
mod verifier;

use async_trait::async_trait;

pub use ip_allow::{IpAllow, TooManyNetworks};
pub use issuer::KeyIssuer;
pub use limits::{KeyLimits, KeyLimitsError};
pub use quotas::{KeyQuotas, KeyQuotasError};
pub use record::{ChangeCursor, ChangePage, ChangeSubject, KeyPatch, KeyRecord, KeyUse, NewKey, StoredKey};

pub(crate) use source::{Carriers, Credential, find_credential};
pub use stored::StoredKeyVerifier;
pub use verifier::{InvalidKey, KeyVerifier, Verdict, Verified};

use crate::error::StoreResult;
use crate::id::{AccountId, KeyId};
use crate::key::{KeyDigest, KeyHash};
use crate::page::{Page, PageRequest};
use crate::quota::StoreIdentity;
use crate::time::Timestamp;

/// Keeps keys' records. Only digests go in; the keys themselves never reach a store.
///
/// Rules for every method, each tested by the conformance suite:
///
/// * Time is an argument: a store never asks for it.
/// * A method that takes an account sees that account's keys only. Another account's key is answered exactly like
///   one that does not exist.
/// * A change is there when the call returns, or it is not there at all.
/// * Dropping the future leaves the store either before or after the whole change.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Keeps a new key.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) when its id or digest is there already: nothing is ever
    /// overwritten. [`NotFound`](crate::StoreErrorKind::NotFound) when the store keeps accounts and the account is
    /// not among them.
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord>;

    /// The key kept under one of `digests`, revoked, expired and disabled ones included, with its account's plan as
    /// it is now, and the move to another plan that is scheduled last. A move at once takes a scheduled one back. None
    /// when there is no such key.
    ///
    /// # Errors
    /// When the store can't tell. "No such key" is not an error.
    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>>;

    /// One of the account's keys.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>>;

    /// The account's keys, active and past, newest first (by creation time, then by id). Paging is stable while
    /// keys are made.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) for a cursor that this store did not make.
    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>>;

    /// Changes what `patch` names and nothing else. None when there is no such key. The key's version rises and the
    /// change is in the feed.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) when the key is revoked: that is final.
    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>>;

    /// Revokes a key for good. None when there is no such key. Doing it again changes nothing, not even the time of
    /// the first revocation, and puts nothing in the feed. The first time the key's version rises and the change is
    /// in the feed.
    ///
    /// # Errors
    /// When the store can't be reached. The key may be revoked all the same; the call can be repeated.
    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>>;

    /// In one step keeps `replacement` and lets the old key expire at `old_expires_at` (or earlier, if it was to
    /// expire earlier), and answers the replacement's record. None when there is no such key. The old key's version rises
    /// and the change is in the feed.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) when the replacement's id or digest is there already, or the
    /// old key is revoked; [`Invalid`](crate::StoreErrorKind::Invalid) when the replacement is for another account.
    /// Then the old key stays as it was and the replacement is not kept.
    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>>;

    /// Keeps a key under another hash, if it is kept under `from` now, revoked and disabled keys included; answers whether
    /// it was. It is then found under `to`'s digest only. Doing it again changes nothing, and so does losing a race to
    /// another call. Neither the record, its version nor the feed change.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) when another key has the new digest: nothing is ever overwritten.
    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool>;

    /// Adds to use counts, and moves times of last use forward, never back. Keys that are not there are passed over.
    /// Neither versions nor the feed change. These are figures for people; money is counted from events. A use may be missing
    /// after a failure, or while more than 16,384 keys wait to be told of.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()>;

    /// The sink that counts uses of these keys itself when it records a batch, in the same transaction. The engine then leaves
    /// out [`KeyStore::mark_used`]. Two connections to one database are two stores here: give clones of one. None when there is no such sink: the engine calls it, for many requests at a time, once they
    /// are in the ledger.
    fn uses_counted_by(&self) -> Option<StoreIdentity> {
        None
    }

    /// What changed after `cursor`, oldest first, at most `limit` (at least one) changes; without a cursor no
    /// changes, but the cursor of this moment. A change that was committed before the call is in this page or in one
    /// that follows: a transaction that commits late is never skipped. A change may be given twice.
    ///
    /// # Errors
    /// [`Invalid`](crate::StoreErrorKind::Invalid) for a cursor that is older than what the store still keeps.
    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage>;

    /// Waits until the feed may hold something after `cursor`, for those who can be told of it without asking; others wait
    /// for ever. It is a hint, which may come for nothing, late or never, so the feed is read at intervals all the same.
    /// Dropping the wait loses nothing.
    async fn await_change(&self, cursor: ChangeCursor) {
        let _ = cursor;
        std::future::pending().await
    }
}
