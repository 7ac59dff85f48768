//! The traits for shared stores: an `Arc` of a store is a store, that of a trait object included.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreResult;
use crate::id::{AccountId, KeyId};
use crate::key::{KeyDigest, KeyHash, PresentedKey};
use crate::keys::{ChangeCursor, ChangePage, KeyPatch, KeyRecord, KeyStore, KeyUse, NewKey, StoredKey};
use crate::keys::{KeyVerifier, Verdict};
use crate::page::{Page, PageRequest};
use crate::plan::{Plan, PlanSource};
use crate::principal::Principal;
use crate::quota::{Balance, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaStore, QuotaWindow};
use crate::quota::{Release, Settlement, StoreIdentity, WindowState};
use crate::rate::{RateCheck, RateDecision, RateLimiter};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{ActiveAccounts, ActiveSpan, Facet, FacetSums};
use crate::usage::{Batch, BatchId, Event, Grain, Recorded, SeriesPoint, UsageQuery, UsageTotals};
use crate::usage::{UsageSink, UsageStore};

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord> {
        (**self).insert(key).await
    }

    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>> {
        (**self).find_by_digest(digests).await
    }

    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>> {
        (**self).get(account, key).await
    }

    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        (**self).list(account, page).await
    }

    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        (**self).update(account, key, patch, now).await
    }

    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        (**self).revoke(account, key, now).await
    }

    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        (**self)
            .rotate(account, key, replacement, old_expires_at, now)
            .await
    }

    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        (**self).rehash(key, from, to).await
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        (**self).mark_used(uses).await
    }

    fn uses_counted_by(&self) -> Option<StoreIdentity> {
        (**self).uses_counted_by()
    }

    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        (**self).changes_since(cursor, limit).await
    }

    async fn await_change(&self, cursor: ChangeCursor) {
        (**self).await_change(cursor).await;
    }
}

#[async_trait]
impl<S: QuotaStore + ?Sized> QuotaStore for Arc<S> {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        (**self).lease(ask).await
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        (**self).release(release).await
    }

    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> StoreResult<()> {
        (**self).settle(holder, batch, settlements, now).await
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        (**self).balances(keys).await
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        (**self).windows(windows).await
    }

    async fn close_earlier(&self, holder: Holder, now: Timestamp) -> StoreResult<Units> {
        (**self).close_earlier(holder, now).await
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        (**self).settled_by()
    }
}

#[async_trait]
impl<S: UsageSink + ?Sized> UsageSink for Arc<S> {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        (**self).record(batch).await
    }

    fn identity(&self) -> Option<StoreIdentity> {
        (**self).identity()
    }
}

#[async_trait]
impl<S: UsageStore + ?Sized> UsageStore for Arc<S> {
    async fn totals(&self, query: &UsageQuery) -> StoreResult<UsageTotals> {
        (**self).totals(query).await
    }

    async fn series(&self, query: &UsageQuery, grain: Grain) -> StoreResult<Vec<SeriesPoint>> {
        (**self).series(query, grain).await
    }

    async fn recent(&self, query: &UsageQuery, page: &PageRequest) -> StoreResult<Page<Event>> {
        (**self).recent(query, page).await
    }

    async fn response_times(&self, query: &UsageQuery, quantiles: &[f64]) -> StoreResult<Option<Vec<u64>>> {
        (**self).response_times(query, quantiles).await
    }

    async fn top(&self, query: &UsageQuery, facet: Facet, limit: usize) -> StoreResult<Vec<FacetSums>> {
        (**self).top(query, facet, limit).await
    }

    async fn active_accounts(
        &self,
        from: Timestamp,
        to: Timestamp,
        span: ActiveSpan,
    ) -> StoreResult<Vec<ActiveAccounts>> {
        (**self).active_accounts(from, to, span).await
    }

    async fn prune(&self, before: Timestamp, limit: usize) -> StoreResult<u64> {
        (**self).prune(before, limit).await
    }
}

#[async_trait]
impl<S: RateLimiter + ?Sized> RateLimiter for Arc<S> {
    async fn check(&self, checks: &[RateCheck], now: Duration) -> StoreResult<RateDecision> {
        (**self).check(checks, now).await
    }
}

#[async_trait]
impl<V: KeyVerifier + ?Sized> KeyVerifier for Arc<V> {
    fn is_well_formed(&self, presented: &str) -> bool {
        (**self).is_well_formed(presented)
    }

    fn claims(&self, bearer: &str) -> bool {
        (**self).claims(bearer)
    }

    async fn verify(&self, presented: &PresentedKey, now: Timestamp) -> StoreResult<Verdict> {
        (**self).verify(presented, now).await
    }

    async fn changes_since(
        &self,
        cursor: Option<ChangeCursor>,
        limit: usize,
    ) -> StoreResult<Option<ChangePage>> {
        (**self).changes_since(cursor, limit).await
    }

    fn wants_uses(&self, ledger: Option<StoreIdentity>) -> bool {
        (**self).wants_uses(ledger)
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        (**self).mark_used(uses).await
    }

    async fn await_change(&self, cursor: ChangeCursor) {
        (**self).await_change(cursor).await;
    }
}

#[async_trait]
impl<P: PlanSource + ?Sized> PlanSource for Arc<P> {
    async fn plan_for(&self, principal: &Principal) -> StoreResult<Arc<Plan>> {
        (**self).plan_for(principal).await
    }
}
