//! The traits of [`FlakyStore`]: each call goes through [`FlakyStore::call`].

use std::time::Duration;

use async_trait::async_trait;

use super::calls::StoreCall;
use super::flaky::FlakyStore;
use crate::error::StoreResult;
use crate::id::{AccountId, KeyId};
use crate::key::{KeyDigest, KeyHash};
use crate::keys::{ChangeCursor, ChangePage, KeyPatch, KeyRecord, KeyStore, KeyUse, NewKey, StoredKey};
use crate::page::{Page, PageRequest};
use crate::quota::{Balance, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaStore, Release, Settlement};
use crate::quota::{QuotaWindow, StoreIdentity, WindowState};
use crate::rate::{RateCheck, RateDecision, RateLimiter};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{ActiveAccounts, ActiveSpan, Facet, FacetSums};
use crate::usage::{Batch, BatchId, Event, Grain, Recorded, SeriesPoint, UsageQuery, UsageTotals};
use crate::usage::{UsageSink, UsageStore};

#[async_trait]
impl<S: KeyStore> KeyStore for FlakyStore<S> {
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord> {
        self.call(StoreCall::Insert, self.inner().insert(key)).await
    }

    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>> {
        self.call(StoreCall::FindByDigest, self.inner().find_by_digest(digests))
            .await
    }

    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>> {
        self.call(StoreCall::Get, self.inner().get(account, key)).await
    }

    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        self.call(StoreCall::List, self.inner().list(account, page)).await
    }

    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        self.call(StoreCall::Update, self.inner().update(account, key, patch, now))
            .await
    }

    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        self.call(StoreCall::Revoke, self.inner().revoke(account, key, now))
            .await
    }

    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        self.call(
            StoreCall::Rotate,
            self.inner()
                .rotate(account, key, replacement, old_expires_at, now),
        )
        .await
    }

    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        self.call(StoreCall::Rehash, self.inner().rehash(key, from, to))
            .await
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        self.call(StoreCall::MarkUsed, self.inner().mark_used(uses)).await
    }

    fn uses_counted_by(&self) -> Option<StoreIdentity> {
        self.inner().uses_counted_by()
    }

    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        self.call(StoreCall::ChangesSince, self.inner().changes_since(cursor, limit))
            .await
    }

    async fn await_change(&self, cursor: ChangeCursor) {
        self.inner().await_change(cursor).await;
    }
}

#[async_trait]
impl<S: QuotaStore> QuotaStore for FlakyStore<S> {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        self.call(StoreCall::Lease, self.inner().lease(ask)).await
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        self.call(StoreCall::Release, self.inner().release(release)).await
    }

    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> StoreResult<()> {
        self.call(
            StoreCall::Settle,
            self.inner().settle(holder, batch, settlements, now),
        )
        .await
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        self.call(StoreCall::Balances, self.inner().balances(keys)).await
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        self.call(StoreCall::Windows, self.inner().windows(windows)).await
    }

    async fn close_earlier(&self, holder: Holder, now: Timestamp) -> StoreResult<Units> {
        self.call(StoreCall::CloseEarlier, self.inner().close_earlier(holder, now))
            .await
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        self.inner().settled_by()
    }
}

#[async_trait]
impl<S: UsageSink> UsageSink for FlakyStore<S> {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        self.call(StoreCall::Record, self.inner().record(batch)).await
    }

    fn identity(&self) -> Option<StoreIdentity> {
        self.inner().identity()
    }
}

#[async_trait]
impl<S: UsageStore> UsageStore for FlakyStore<S> {
    async fn totals(&self, query: &UsageQuery) -> StoreResult<UsageTotals> {
        self.call(StoreCall::Totals, self.inner().totals(query)).await
    }

    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>> {
        self.call(StoreCall::Series, self.inner().series(query, grain))
            .await
    }

    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>> {
        self.call(StoreCall::Recent, self.inner().recent(query, page))
            .await
    }

    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>> {
        self.call(
            StoreCall::ResponseTimes,
            self.inner().response_times(query, quantiles),
        )
        .await
    }

    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>> {
        self.call(StoreCall::Top, self.inner().top(query, facet, limit))
            .await
    }

    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>> {
        self.call(
            StoreCall::ActiveAccounts,
            self.inner().active_accounts(from, to, span),
        )
        .await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64> {
        self.call(StoreCall::Prune, self.inner().prune(before, limit))
            .await
    }
}

#[async_trait]
impl<S: RateLimiter> RateLimiter for FlakyStore<S> {
    async fn check(&self, checks: &[RateCheck], now: Duration) -> StoreResult<RateDecision> {
        self.call(StoreCall::Check, self.inner().check(checks, now)).await
    }
}
