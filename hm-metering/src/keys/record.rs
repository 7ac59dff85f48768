//! What is kept of a key, and what is said of its changes.

use std::collections::BTreeMap;

use super::ip_allow::IpAllow;
use super::limits::KeyLimits;
use super::quotas::KeyQuotas;
use crate::id::{AccountId, KeyId, UserId};
use crate::key::{KeyDigest, KeyEnv, SlowHash};
use crate::name::PlanId;
use crate::time::Timestamp;

/// A key to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// Who is billed and limited.
    pub account: AccountId,
    /// Who made it.
    pub user: UserId,
    /// The digest it is found by.
    pub digest: KeyDigest,
    /// The number of the pepper that the digest was made with.
    pub pepper: u16,
    /// A slow hash of the key, where the digest alone does not prove it.
    pub slow_hash: Option<SlowHash>,
    /// What its owner calls it.
    pub name: String,
    /// The beginning that may be shown.
    pub prefix: String,
    /// The last four characters.
    pub last4: String,
    /// Live or test.
    pub env: KeyEnv,
    /// What it may do: no more than [`Principal::SCOPES_BYTES_MAX`](crate::Principal::SCOPES_BYTES_MAX), or the key is not
    /// accepted.
    pub scopes: Vec<String>,
    /// The networks it may be used from; none for any.
    pub ip_allow: IpAllow,
    /// The rates of its own, beside its account's.
    pub limits: KeyLimits,
    /// The quotas of its own, beside its account's.
    pub quotas: KeyQuotas,
    /// From when it is valid; none for at once.
    pub not_before: Option<Timestamp>,
    /// The first moment at which it is no longer valid; none for never.
    pub expires_at: Option<Timestamp>,
    /// Free facts of its owner, at most a few.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Who is billed and limited.
    pub account: AccountId,
    /// Who made it.
    pub user: UserId,
    /// What its owner calls it.
    pub name: String,
    /// The beginning that may be shown.
    pub prefix: String,
    /// The last four characters.
    pub last4: String,
    /// Live or test.
    pub env: KeyEnv,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The networks it may be used from.
    pub ip_allow: IpAllow,
    /// The rates of its own.
    pub limits: KeyLimits,
    /// The quotas of its own.
    pub quotas: KeyQuotas,
    /// Whether its owner has it switched on. A revoked key is switched off for good.
    pub is_active: bool,
    /// From when it is valid.
    pub not_before: Option<Timestamp>,
    /// The first moment at which it is no longer valid.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it last got a request through.
    pub last_used_at: Option<Timestamp>,
    /// How many requests it got through.
    pub usage_count: u64,
    /// Free facts of its owner.
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Rises with each change except of last use and use count. Starts at one.
    pub version: u64,
}

/// A key found by digest, with what the engine needs of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The key.
    pub record: KeyRecord,
    /// The digest it was found by.
    pub digest: KeyDigest,
    /// The slow hash that was kept beside it.
    pub slow_hash: Option<SlowHash>,
    /// The account's plan, until a move to another takes effect.
    pub plan: PlanId,
    /// The plan that the account moves to, and when; none when no move is scheduled. It stays after its time has come,
    /// until the account is moved again: [`StoredKey::plan_at`] says which plan holds.
    pub next_plan: Option<(PlanId, Timestamp)>,
    /// When the account began.
    pub anchor: Timestamp,
    /// Whether the account is open. Keys of a closed one are not valid.
    pub account_open: bool,
}

impl StoredKey {
    /// The account's plan at `now`, and until when it holds: none for as long as nobody moves the account.
    #[must_use]
    pub fn plan_at(&self, now: Timestamp) -> (&PlanId, Option<Timestamp>) {
        match &self.next_plan {
            Some((next, at)) if *at <= now => (next, None),
            Some((_, at)) => (&self.plan, Some(*at)),
            None => (&self.plan, None),
        }
    }
}

/// A change of a key. What is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// Another name.
    pub name: Option<String>,
    /// Other scopes, all of them.
    pub scopes: Option<Vec<String>>,
    /// Other networks, all of them; empty for any.
    pub ip_allow: Option<IpAllow>,
    /// Other rates, all of them.
    pub limits: Option<KeyLimits>,
    /// Other quotas, all of them. What was counted for a meter counts on if its period stays.
    pub quotas: Option<KeyQuotas>,
    /// Switch on or off.
    pub is_active: Option<bool>,
    /// Another end; `Some(None)` for never.
    pub expires_at: Option<Option<Timestamp>>,
    /// Other facts, all of them.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// How often a key got requests through, for [`KeyStore::mark_used`](super::KeyStore::mark_used).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: KeyId,
    /// How many requests.
    pub count: u64,
    /// When the last of them came.
    pub last_used_at: Timestamp,
}

/// A place in a store's feed of changes. Later changes have greater cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeCursor(pub u64);

/// Whose entry in a cache is out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeSubject {
    /// A key: changed, revoked, rotated.
    Key {
        /// Which.
        key: KeyId,
        /// The version it has since.
        version: u64,
    },
    /// An account: another plan, closed, opened.
    Account(AccountId),
}

/// Part of a store's feed of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangePage {
    /// What changed, oldest first.
    pub changes: Vec<ChangeSubject>,
    /// Where the next page begins.
    pub cursor: ChangeCursor,
    /// Whether more are waiting already.
    pub more: bool,
}
