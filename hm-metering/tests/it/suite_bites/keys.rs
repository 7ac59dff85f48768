use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hm_metering::conformance::{Fixture, keys};
use hm_metering::error::{StoreErrorKind, StoreResult};
use hm_metering::key::{KeyDigest, KeyHash};
use hm_metering::keys::{
    ChangeCursor, ChangePage, ChangeSubject, IpAllow, KeyLimits, KeyPatch, KeyQuotas, KeyRecord, KeyUse,
    NewKey, StoredKey,
};
use hm_metering::page::{Page, PageRequest};
use hm_metering::{AccountId, KeyId, KeyStore, MemoryStore, PlanId, Timestamp};

use super::bites;
use crate::conformance::MemoryAccounts;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    InsertOverwrites,
    InsertTakesAnyAccount,
    FindsByFirstDigestOnly,
    KeepsTheFirstPlan,
    ForgetsTheNextPlan,
    KeepsTheNextPlan,
    FindsNoRevokedKeys,
    ShowsForeignKeys,
    RevokesForeignKeys,
    ForeignRevokedKeyIsAConflict,
    UpdateClearsScopes,
    UpdateKeepsTheVersion,
    UpdateRevives,
    RevokeMovesTheTime,
    RevokeAgainIsInTheFeed,
    RotateIsTwoSteps,
    RotateLengthens,
    RotateAnswersTheOldKey,
    LastUseMovesBack,
    UseIsInTheFeed,
    UnknownUseStopsTheRest,
    PageSkips,
    PageRepeats,
    ListIsOldestFirst,
    AnyCursorIsTaken,
    FeedLosesEvenVersions,
    FeedLosesAccounts,
    FeedStopsAfterAPage,
    FeedIgnoresTheLimit,
    FeedGoesBack,
    CutsTimesToMilliseconds,
    TrimsNames,
    ForgetsNetworks,
    ForgetsLimits,
    ForgetsQuotas,
    PatchKeepsQuotas,
    CutsLimits,
    UpdateKeepsNetworks,
    RehashDoesNothing,
    RehashForgetsTheSlowHash,
    RehashIgnoresTheOldDigest,
    RehashConflictIsALostRace,
    RehashIsInTheFeed,
    RehashRaisesTheVersion,
}

struct Broken {
    store: MemoryStore,
    fault: Option<Fault>,
    owners: Mutex<HashMap<KeyId, AccountId>>,
    plans: Mutex<HashMap<AccountId, PlanId>>,
    next_plans: Mutex<HashMap<AccountId, (PlanId, Timestamp)>>,
    last_reported: Mutex<HashMap<KeyId, Timestamp>>,
    digests: Mutex<HashMap<KeyId, KeyDigest>>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The account that a broken store takes for the asking one.
    fn asking(&self, fault: Fault, account: AccountId, key: KeyId) -> AccountId {
        let owners = self.owners.lock().unwrap();
        owners
            .get(&key)
            .copied()
            .filter(|_| self.has(fault))
            .unwrap_or(account)
    }

    fn owner(&self, key: KeyId) -> Option<AccountId> {
        self.owners.lock().unwrap().get(&key).copied()
    }
}

fn cut(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros() / 1_000 * 1_000)
}

#[async_trait]
impl KeyStore for Broken {
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord> {
        let mut key = key.clone();
        if self.has(Fault::CutsTimesToMilliseconds) {
            key.created_at = cut(key.created_at);
            key.expires_at = key.expires_at.map(cut);
        }
        if self.has(Fault::TrimsNames) {
            key.name = key.name.trim().to_owned();
        }
        if self.has(Fault::ForgetsNetworks) {
            key.ip_allow = IpAllow::default();
        }
        if self.has(Fault::ForgetsLimits) {
            key.limits = KeyLimits::default();
        }
        if self.has(Fault::CutsLimits) {
            key.limits = KeyLimits::new(key.limits.rates().iter().take(1).cloned()).unwrap();
        }
        if self.has(Fault::ForgetsQuotas) {
            key.quotas = KeyQuotas::default();
        }
        if self.has(Fault::InsertTakesAnyAccount) {
            self.store
                .add_account(key.account, PlanId::from_static("free"), key.created_at);
        }
        let answer = self.store.insert(&key).await;
        if answer.is_ok() {
            self.owners.lock().unwrap().insert(key.id, key.account);
            self.digests.lock().unwrap().insert(key.id, key.digest);
        }
        match answer {
            Err(error) if self.has(Fault::InsertOverwrites) && error.kind() == StoreErrorKind::Conflict => {
                let patch = KeyPatch {
                    name: Some(key.name.clone()),
                    ..KeyPatch::default()
                };
                let updated = self
                    .store
                    .update(key.account, key.id, &patch, key.created_at)
                    .await?;
                updated.ok_or(error)
            }
            answer => answer,
        }
    }

    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>> {
        let digests = if self.has(Fault::FindsByFirstDigestOnly) {
            &digests[..digests.len().min(1)]
        } else {
            digests
        };
        let mut found = self.store.find_by_digest(digests).await?;
        if self.has(Fault::FindsNoRevokedKeys) {
            found = found.filter(|found| found.record.revoked_at.is_none());
        }
        if let Some(found) = found.as_mut().filter(|_| self.has(Fault::ForgetsTheNextPlan)) {
            found.next_plan = None;
        }
        if let Some(found) = found.as_mut().filter(|_| self.has(Fault::KeepsTheNextPlan)) {
            let mut next_plans = self.next_plans.lock().unwrap();
            match &found.next_plan {
                Some(next) => {
                    next_plans.insert(found.record.account, next.clone());
                }
                None => found.next_plan = next_plans.get(&found.record.account).cloned(),
            }
        }
        if let Some(found) = found.as_mut().filter(|_| self.has(Fault::KeepsTheFirstPlan)) {
            let mut plans = self.plans.lock().unwrap();
            found.plan = plans
                .entry(found.record.account)
                .or_insert(found.plan.clone())
                .clone();
        }
        Ok(found)
    }

    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>> {
        let account = self.asking(Fault::ShowsForeignKeys, account, key);
        let mut record = self.store.get(account, key).await?;
        if let Some(record) = record.as_mut().filter(|_| self.has(Fault::LastUseMovesBack)) {
            record.last_used_at = self.last_reported.lock().unwrap().get(&key).copied();
        }
        Ok(record)
    }

    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        let mut answer = self.store.list(account, page).await;
        if self.has(Fault::AnyCursorIsTaken) && answer.is_err() {
            answer = self.store.list(account, &PageRequest::first(page.limit)).await;
        }
        let mut answer = answer?;
        if self.has(Fault::PageSkips) && page.cursor.is_some() {
            answer.items.remove(0);
        }
        if self.has(Fault::PageRepeats) && page.cursor.is_some() {
            answer.items.insert(0, answer.items[0].clone());
        }
        if self.has(Fault::ListIsOldestFirst) {
            answer.items.reverse();
        }
        Ok(answer)
    }

    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        let mut patch = patch.clone();
        if self.has(Fault::UpdateClearsScopes) && patch.scopes.is_none() {
            patch.scopes = Some(Vec::new());
        }
        if self.has(Fault::UpdateKeepsNetworks) {
            patch.ip_allow = None;
        }
        if self.has(Fault::PatchKeepsQuotas) {
            patch.quotas = None;
        }
        let mut answer = self.store.update(account, key, &patch, now).await;
        if self.has(Fault::UpdateRevives) && answer.is_err() {
            answer = self.store.get(account, key).await;
        }
        if self.has(Fault::ForeignRevokedKeyIsAConflict)
            && let Some(owner) = self.owner(key)
        {
            self.store.update(owner, key, &patch, now).await?;
        }
        if let Ok(Some(record)) = &mut answer
            && self.has(Fault::UpdateKeepsTheVersion)
        {
            record.version -= 1;
        }
        answer
    }

    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        let account = self.asking(Fault::RevokesForeignKeys, account, key);
        if self.has(Fault::RevokeAgainIsInTheFeed) {
            self.store.set_plan(account, PlanId::from_static("free"));
        }
        let mut answer = self.store.revoke(account, key, now).await?;
        if let Some(record) = answer.as_mut().filter(|_| self.has(Fault::RevokeMovesTheTime)) {
            record.revoked_at = Some(now);
        }
        Ok(answer)
    }

    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        if self.has(Fault::RotateIsTwoSteps) {
            let record = self.insert(replacement).await?;
            let patch = KeyPatch {
                expires_at: Some(Some(old_expires_at)),
                ..KeyPatch::default()
            };
            let old = self.store.update(account, key, &patch, now).await?;
            return Ok(old.map(|_| record));
        }
        let answer = self
            .store
            .rotate(account, key, replacement, old_expires_at, now)
            .await?;
        if answer.is_some() && self.has(Fault::RotateLengthens) {
            let patch = KeyPatch {
                expires_at: Some(Some(old_expires_at)),
                ..KeyPatch::default()
            };
            self.store.update(account, key, &patch, now).await?;
        }
        if answer.is_some() && self.has(Fault::RotateAnswersTheOldKey) {
            return self.store.get(account, key).await;
        }
        Ok(answer)
    }

    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        if self.has(Fault::RehashDoesNothing) {
            return Ok(true);
        }
        let mut to = to.clone();
        if self.has(Fault::RehashForgetsTheSlowHash) {
            to.slow = None;
        }
        let kept = self.digests.lock().unwrap()[&key];
        let from = if self.has(Fault::RehashIgnoresTheOldDigest) {
            &kept
        } else {
            from
        };
        let answer = self.store.rehash(key, from, &to).await;
        if matches!(answer, Ok(true)) {
            self.digests.lock().unwrap().insert(key, to.digest);
            let owner = self.owner(key).unwrap();
            if self.has(Fault::RehashIsInTheFeed) {
                self.store.set_plan(owner, PlanId::from_static("free"));
            }
            if self.has(Fault::RehashRaisesTheVersion) {
                let now = Timestamp::from_micros(0);
                self.store.update(owner, key, &KeyPatch::default(), now).await?;
            }
        }
        match answer {
            Err(_) if self.has(Fault::RehashConflictIsALostRace) => Ok(false),
            answer => answer,
        }
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        for used in uses {
            self.last_reported
                .lock()
                .unwrap()
                .insert(used.key, used.last_used_at);
            let owner = self.owner(used.key);
            if self.has(Fault::UnknownUseStopsTheRest) && owner.is_none() {
                return Ok(());
            }
            if let Some(owner) = owner.filter(|_| self.has(Fault::UseIsInTheFeed)) {
                self.store.set_plan(owner, PlanId::from_static("free"));
            }
            self.store.mark_used(std::slice::from_ref(used)).await?;
        }
        Ok(())
    }

    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        let limit = if self.has(Fault::FeedIgnoresTheLimit) {
            1_000
        } else {
            limit
        };
        let mut page = self.store.changes_since(cursor, limit).await?;
        if self.has(Fault::FeedLosesEvenVersions) {
            page.changes
                .retain(|change| !matches!(change, ChangeSubject::Key { version, .. } if version % 2 == 0));
        }
        if self.has(Fault::FeedLosesAccounts) {
            page.changes
                .retain(|change| !matches!(change, ChangeSubject::Account(_)));
        }
        if self.has(Fault::FeedStopsAfterAPage) && page.more {
            let rest = self.store.changes_since(Some(page.cursor), 1_000).await?;
            page.cursor = rest.cursor;
            page.more = false;
        }
        if self.has(Fault::FeedGoesBack) && cursor.is_some() && page.changes.is_empty() {
            page.cursor.0 = page.cursor.0.saturating_sub(2);
        }
        Ok(page)
    }
}

fn make(fault: Option<Fault>) -> Fixture<dyn KeyStore> {
    let store = MemoryStore::new();
    let broken = Broken {
        store: store.clone(),
        fault,
        owners: Mutex::default(),
        plans: Mutex::default(),
        next_plans: Mutex::default(),
        last_reported: Mutex::default(),
        digests: Mutex::default(),
    };
    Fixture::new(Arc::new(broken), MemoryAccounts(store))
}

#[tokio::test]
async fn every_fault_of_a_key_store_is_noticed() {
    let faults = [
        (Fault::InsertOverwrites, "an_id_is_never_overwritten"),
        (Fault::InsertTakesAnyAccount, "a_key_needs_its_account"),
        (
            Fault::FindsByFirstDigestOnly,
            "a_key_is_found_under_any_of_several_digests",
        ),
        (Fault::KeepsTheFirstPlan, "a_found_key_has_the_plan_of_now"),
        (Fault::ForgetsTheNextPlan, "a_found_key_has_the_scheduled_plan"),
        (
            Fault::KeepsTheNextPlan,
            "a_move_at_once_takes_a_scheduled_one_back",
        ),
        (Fault::FindsNoRevokedKeys, "keys_that_are_not_valid_are_found"),
        (Fault::ShowsForeignKeys, "another_accounts_key_is_not_there"),
        (Fault::RevokesForeignKeys, "another_accounts_key_is_not_there"),
        (
            Fault::ForeignRevokedKeyIsAConflict,
            "another_accounts_revoked_key_is_not_there",
        ),
        (
            Fault::UpdateClearsScopes,
            "an_update_changes_what_it_names_and_nothing_else",
        ),
        (
            Fault::UpdateKeepsTheVersion,
            "an_update_changes_what_it_names_and_nothing_else",
        ),
        (Fault::UpdateRevives, "a_revoked_key_can_not_be_updated"),
        (Fault::RevokeMovesTheTime, "revoking_again_changes_nothing"),
        (Fault::RevokeAgainIsInTheFeed, "revoking_again_is_not_in_the_feed"),
        (Fault::RotateIsTwoSteps, "a_revoked_key_can_not_be_rotated"),
        (
            Fault::RotateLengthens,
            "rotating_never_lengthens_the_old_keys_life",
        ),
        (
            Fault::RotateAnswersTheOldKey,
            "rotating_keeps_the_replacement_and_ends_the_old_key",
        ),
        (Fault::LastUseMovesBack, "the_last_use_never_moves_back"),
        (Fault::UseIsInTheFeed, "uses_are_not_in_the_feed"),
        (
            Fault::UnknownUseStopsTheRest,
            "uses_of_unknown_keys_are_passed_over",
        ),
        (Fault::PageSkips, "pages_have_each_key_once"),
        (Fault::PageRepeats, "pages_have_each_key_once"),
        (Fault::ListIsOldestFirst, "keys_are_listed_newest_first"),
        (Fault::AnyCursorIsTaken, "a_made_up_cursor_of_keys_is_invalid"),
        (
            Fault::FeedLosesEvenVersions,
            "every_change_of_a_key_is_in_the_feed",
        ),
        (Fault::FeedLosesAccounts, "scheduled_moves_are_in_the_feed"),
        (Fault::FeedStopsAfterAPage, "the_feed_comes_in_pages"),
        (Fault::FeedIgnoresTheLimit, "the_feed_comes_in_pages"),
        (Fault::FeedGoesBack, "the_feed_comes_in_pages"),
        (
            Fault::CutsTimesToMilliseconds,
            "times_are_kept_to_the_microsecond",
        ),
        (Fault::TrimsNames, "text_comes_back_as_it_was"),
        (Fault::ForgetsNetworks, "a_new_key_is_answered_as_it_was_given"),
        (Fault::ForgetsLimits, "a_new_key_is_answered_as_it_was_given"),
        (Fault::ForgetsQuotas, "a_new_key_is_answered_as_it_was_given"),
        (
            Fault::PatchKeepsQuotas,
            "an_update_changes_what_it_names_and_nothing_else",
        ),
        (Fault::CutsLimits, "a_key_keeps_all_its_networks_and_limits"),
        (
            Fault::RehashDoesNothing,
            "a_rehashed_key_is_found_under_its_new_digest_only",
        ),
        (
            Fault::RehashForgetsTheSlowHash,
            "a_rehashed_key_is_found_under_its_new_digest_only",
        ),
        (
            Fault::RehashIgnoresTheOldDigest,
            "a_rehash_that_comes_late_changes_nothing",
        ),
        (Fault::RehashConflictIsALostRace, "a_rehash_never_overwrites"),
        (Fault::RehashIsInTheFeed, "rehashing_is_not_in_the_feed"),
        (
            Fault::RehashRaisesTheVersion,
            "a_rehashed_key_is_found_under_its_new_digest_only",
        ),
        (
            Fault::UpdateKeepsNetworks,
            "an_update_changes_what_it_names_and_nothing_else",
        ),
    ];
    bites(keys::cases(), make, &faults).await;
}
