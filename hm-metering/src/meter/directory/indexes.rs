//! How callers and accounts are found.

use std::hash::RandomState;

use super::caller::Caller;
use super::fingerprint::{AsFingerprints, Fingerprint};
use crate::id::{AccountId, KeyId};
use crate::index::Lookup;
use crate::meter::account::Account;
use crate::principal::Identity;

/// By the text of the key.
pub(super) struct CallersByFingerprint;

/// By the key's id, where it has one.
pub(super) struct CallersByKey;

pub(super) struct AccountsById;

impl Lookup for CallersByFingerprint {
    type Value = Caller;
    type Key<'a> = Fingerprint;
    type Hasher = AsFingerprints;

    fn key(caller: &Caller) -> Option<Fingerprint> {
        Some(caller.fingerprint())
    }

    fn has_key(caller: &Caller, key: &Fingerprint) -> bool {
        caller.fingerprint() == *key
    }
}

impl Lookup for CallersByKey {
    type Value = Caller;
    type Key<'a> = KeyId;
    type Hasher = RandomState;

    fn key(caller: &Caller) -> Option<KeyId> {
        Identity::key(caller)
    }

    fn has_key(caller: &Caller, key: &KeyId) -> bool {
        Identity::key(caller) == Some(*key)
    }
}

impl Lookup for AccountsById {
    type Value = Account;
    type Key<'a> = AccountId;
    type Hasher = RandomState;

    fn key(account: &Account) -> Option<AccountId> {
        Some(account.id)
    }

    fn has_key(account: &Account, key: &AccountId) -> bool {
        account.id == *key
    }
}
