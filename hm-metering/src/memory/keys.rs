//! Keys, their accounts and the feed of changes.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use async_trait::async_trait;

use super::{MemoryStore, cursor};
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::id::{AccountId, KeyId};
use crate::key::{KeyDigest, KeyHash, SlowHash};
use crate::keys::{
    ChangeCursor, ChangePage, ChangeSubject, KeyPatch, KeyRecord, KeyStore, KeyUse, NewKey, StoredKey,
};
use crate::name::PlanId;
use crate::page::{Page, PageRequest};
use crate::quota::StoreIdentity;
use crate::time::Timestamp;

/// Marks the cursors of [`KeyStore::list`].
const LIST: char = 'k';

#[derive(Default)]
pub(super) struct Keys {
    accounts: HashMap<AccountId, Account>,
    records: HashMap<KeyId, KeyRecord>,
    by_digest: HashMap<KeyDigest, (KeyId, Option<SlowHash>)>,
    feed: Feed,
}

struct Account {
    plan: PlanId,
    next_plan: Option<(PlanId, Timestamp)>,
    anchor: Timestamp,
    open: bool,
    keys: BTreeSet<(Timestamp, KeyId)>,
}

/// The newest changes. The n-th change ever has cursor n, so cursor n has seen n changes.
#[derive(Default)]
struct Feed {
    forgotten: u64,
    changes: VecDeque<ChangeSubject>,
}

impl Feed {
    fn push(&mut self, change: ChangeSubject) {
        if self.changes.len() == MemoryStore::MAX_CHANGES {
            self.changes.pop_front();
            self.forgotten += 1;
        }
        self.changes.push_back(change);
    }

    fn end(&self) -> u64 {
        self.forgotten + self.changes.len() as u64
    }

    fn since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        let ChangeCursor(from) = cursor.unwrap_or(ChangeCursor(self.end()));
        if !(self.forgotten..=self.end()).contains(&from) {
            return Err(StoreError::new(StoreErrorKind::Invalid, "read feed of changes"));
        }
        let seen = usize::try_from(from - self.forgotten).unwrap_or(usize::MAX);
        let changes: Vec<_> = self
            .changes
            .iter()
            .skip(seen)
            .take(limit.max(1))
            .copied()
            .collect();
        let cursor = from + changes.len() as u64;
        Ok(ChangePage {
            changes,
            cursor: ChangeCursor(cursor),
            more: cursor < self.end(),
        })
    }
}

impl Keys {
    pub(super) fn add_account(&mut self, account: AccountId, plan: PlanId, anchor: Timestamp) -> bool {
        if self.accounts.contains_key(&account) {
            return false;
        }
        let entry = Account {
            plan,
            next_plan: None,
            anchor,
            open: true,
            keys: BTreeSet::new(),
        };
        self.accounts.insert(account, entry);
        true
    }

    pub(super) fn set_plan(&mut self, account: AccountId, plan: PlanId) -> bool {
        self.change_account(account, |entry| {
            entry.plan = plan;
            entry.next_plan = None;
        })
    }

    pub(super) fn schedule_plan(
        &mut self,
        account: AccountId,
        plan: PlanId,
        at: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.change_account(account, |entry| {
            if let Some((due, _)) = entry.next_plan.take_if(|(_, due_at)| *due_at <= now) {
                entry.plan = due;
            }
            entry.next_plan = Some((plan, at));
        })
    }

    pub(super) fn close_account(&mut self, account: AccountId) -> bool {
        self.change_account(account, |entry| entry.open = false)
    }

    fn change_account(&mut self, account: AccountId, change: impl FnOnce(&mut Account)) -> bool {
        let Some(entry) = self.accounts.get_mut(&account) else {
            return false;
        };
        change(entry);
        self.feed.push(ChangeSubject::Account(account));
        true
    }

    /// Counts a use of a key, if it is one of the account's.
    pub(super) fn count_use(&mut self, account: AccountId, key: KeyId, at: Timestamp) {
        if self.own(account, key).is_some() {
            self.mark(&KeyUse {
                key,
                count: 1,
                last_used_at: at,
            });
        }
    }

    fn own(&mut self, account: AccountId, key: KeyId) -> Option<&mut KeyRecord> {
        self.records
            .get_mut(&key)
            .filter(|record| record.account == account)
    }

    fn mark(&mut self, used: &KeyUse) {
        if let Some(record) = self.records.get_mut(&used.key) {
            record.usage_count = record.usage_count.saturating_add(used.count);
            record.last_used_at = record.last_used_at.max(Some(used.last_used_at));
        }
    }

    fn insert(&mut self, key: &NewKey) -> StoreResult<KeyRecord> {
        if self.records.contains_key(&key.id) || self.by_digest.contains_key(&key.digest) {
            return Err(StoreError::new(StoreErrorKind::Conflict, "insert key"));
        }
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return Err(StoreError::new(StoreErrorKind::NotFound, "insert key"));
        };
        account.keys.insert((key.created_at, key.id));
        self.by_digest.insert(key.digest, (key.id, key.slow_hash.clone()));
        let record = first_record(key);
        self.records.insert(key.id, record.clone());
        Ok(record)
    }

    fn find(&self, digest: &KeyDigest) -> Option<StoredKey> {
        let (key, slow_hash) = self.by_digest.get(digest)?;
        let record = self.records.get(key)?;
        let account = self.accounts.get(&record.account)?;
        Some(StoredKey {
            record: record.clone(),
            digest: *digest,
            slow_hash: slow_hash.clone(),
            plan: account.plan.clone(),
            next_plan: account.next_plan.clone(),
            anchor: account.anchor,
            account_open: account.open,
        })
    }

    fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        let after = cursor::position(LIST, page)?;
        let end = after.map_or(Bound::Unbounded, |(at, id)| Bound::Excluded((at, id.into())));
        let newest_first = self
            .accounts
            .get(&account)
            .into_iter()
            .flat_map(|entry| entry.keys.range((Bound::Unbounded, end)).rev())
            .filter_map(|(_, key)| self.records.get(key).cloned());
        Ok(cursor::cut(LIST, page, newest_first, |record| {
            (record.created_at, record.id.as_uuid())
        }))
    }

    /// Changes a key that is not revoked; its version rises and the change is in the feed.
    fn change(
        &mut self,
        account: AccountId,
        key: KeyId,
        change: impl FnOnce(&mut KeyRecord),
    ) -> StoreResult<Option<KeyRecord>> {
        let Some(record) = self.own(account, key) else {
            return Ok(None);
        };
        if record.revoked_at.is_some() {
            return Err(StoreError::new(StoreErrorKind::Conflict, "change revoked key"));
        }
        change(record);
        record.version += 1;
        let record = record.clone();
        self.feed.push(ChangeSubject::Key {
            key,
            version: record.version,
        });
        Ok(Some(record))
    }

    fn revoke(&mut self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        if let Some(record) = self
            .own(account, key)
            .filter(|record| record.revoked_at.is_some())
        {
            return Ok(Some(record.clone()));
        }
        self.change(account, key, |record| {
            record.is_active = false;
            record.revoked_at = Some(now);
        })
    }

    fn rehash(&mut self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        if self.by_digest.get(from).is_none_or(|(kept, _)| *kept != key) {
            return Ok(false);
        }
        if to.digest != *from && self.by_digest.contains_key(&to.digest) {
            return Err(StoreError::new(StoreErrorKind::Conflict, "rehash key"));
        }
        self.by_digest.remove(from);
        self.by_digest.insert(to.digest, (key, to.slow.clone()));
        Ok(true)
    }

    fn rotate(
        &mut self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        let Some(old) = self.own(account, key) else {
            return Ok(None);
        };
        if replacement.account != account {
            return Err(StoreError::new(StoreErrorKind::Invalid, "rotate key"));
        }
        if old.revoked_at.is_some() {
            return Err(StoreError::new(StoreErrorKind::Conflict, "rotate revoked key"));
        }
        let record = self.insert(replacement)?;
        self.change(account, key, |old| {
            let end = old.expires_at.unwrap_or(Timestamp::MAX);
            old.expires_at = Some(end.min(old_expires_at));
        })?;
        Ok(Some(record))
    }
}

fn first_record(key: &NewKey) -> KeyRecord {
    KeyRecord {
        id: key.id,
        account: key.account,
        user: key.user,
        name: key.name.clone(),
        prefix: key.prefix.clone(),
        last4: key.last4.clone(),
        env: key.env,
        scopes: key.scopes.clone(),
        ip_allow: key.ip_allow.clone(),
        limits: key.limits.clone(),
        quotas: key.quotas.clone(),
        is_active: true,
        not_before: key.not_before,
        expires_at: key.expires_at,
        revoked_at: None,
        last_used_at: None,
        usage_count: 0,
        metadata: key.metadata.clone(),
        created_at: key.created_at,
        version: 1,
    }
}

fn apply(patch: &KeyPatch, record: &mut KeyRecord) {
    set(&mut record.name, patch.name.as_ref());
    set(&mut record.scopes, patch.scopes.as_ref());
    set(&mut record.ip_allow, patch.ip_allow.as_ref());
    set(&mut record.limits, patch.limits.as_ref());
    set(&mut record.quotas, patch.quotas.as_ref());
    set(&mut record.is_active, patch.is_active.as_ref());
    set(&mut record.expires_at, patch.expires_at.as_ref());
    set(&mut record.metadata, patch.metadata.as_ref());
}

fn set<T: Clone>(field: &mut T, new: Option<&T>) {
    if let Some(new) = new {
        field.clone_from(new);
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord> {
        self.lock().keys.insert(key)
    }

    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>> {
        let state = self.lock();
        Ok(digests.iter().find_map(|digest| state.keys.find(digest)))
    }

    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>> {
        Ok(self.lock().keys.own(account, key).cloned())
    }

    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        self.lock().keys.list(account, page)
    }

    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        _now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        self.lock()
            .keys
            .change(account, key, |record| apply(patch, record))
    }

    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        self.lock().keys.revoke(account, key, now)
    }

    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        _now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        self.lock().keys.rotate(account, key, replacement, old_expires_at)
    }

    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        self.lock().keys.rehash(key, from, to)
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        let mut state = self.lock();
        for used in uses {
            state.keys.mark(used);
        }
        Ok(())
    }

    fn uses_counted_by(&self) -> Option<StoreIdentity> {
        Some(self.identity)
    }

    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        self.lock().keys.feed.since(cursor, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_behind_what_the_feed_keeps_is_invalid() {
        let mut feed = Feed::default();
        let account = AccountId::from_uuid(uuid::Uuid::nil());
        for _ in 0..=MemoryStore::MAX_CHANGES {
            feed.push(ChangeSubject::Account(account));
        }
        assert_eq!(feed.changes.len(), MemoryStore::MAX_CHANGES);
        let lost = feed.since(Some(ChangeCursor(0)), 10).unwrap_err();
        assert_eq!(lost.kind(), StoreErrorKind::Invalid);
        assert_eq!(feed.since(Some(ChangeCursor(1)), 10).unwrap().changes.len(), 10);
        let never = feed.since(Some(ChangeCursor(u64::MAX)), 10).unwrap_err();
        assert_eq!(never.kind(), StoreErrorKind::Invalid);
    }
}
