//! How callers and accounts are found.

use std::hash::RandomState;

use super::caller::Caller;
use super::fingerprint::{AsFingerprints, Fingerprint};
use crate::id::{AccountId, KeyId};
use crate::index::Lookup;
use crate::meter::account::Account;

/// By the text of the key.
pub(super) struct CallersByFingerprint;

/// By the key's id, where it has one.
pub(super) struct CallersByKey;

pub(super) struct AccountsById;

impl Lookup for CallersByFingerprint {
    type Value = Caller;
    type Key = Fingerprint;
    type Hasher = AsFingerprints;

    fn key(caller: &Caller) -> Option<&Fingerprint> {
        Some(caller.fingerprint())
    }
}

impl Lookup for CallersByKey {
    type Value = Caller;
    type Key = KeyId;
    type Hasher = RandomState;

    fn key(caller: &Caller) -> Option<&KeyId> {
        caller.key_id()
    }
}

impl Lookup for AccountsById {
    type Value = Account;
    type Key = AccountId;
    type Hasher = RandomState;

    fn key(account: &Account) -> Option<&AccountId> {
        Some(&account.id)
    }
}
