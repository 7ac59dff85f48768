//! The stores in memory keep the traits' promises, plain and behind trait objects.

use std::sync::Arc;

use async_trait::async_trait;
use hm_metering::conformance::{Accounts, CountingStore, Fixture, MadeUpAccounts, SettlingStore};
use hm_metering::{
    AccountId, KeyStore, MemoryRateLimiter, MemoryStore, PlanId, QuotaStore, RateLimiter, Timestamp,
    UsageSink, UsageStore, UserId,
};
use uuid::Uuid;

pub struct MemoryAccounts(pub MemoryStore);

#[async_trait]
impl Accounts for MemoryAccounts {
    async fn add(&self, plan: &PlanId, anchor: Timestamp) -> (AccountId, UserId) {
        let (account, user) = (Uuid::now_v7().into(), Uuid::now_v7().into());
        assert!(self.0.add_account(account, plan.clone(), anchor));
        (account, user)
    }

    async fn set_plan(&self, account: AccountId, plan: &PlanId) {
        assert!(self.0.set_plan(account, plan.clone()));
    }

    async fn schedule_plan(&self, account: AccountId, plan: &PlanId, at: Timestamp) {
        let now = Timestamp::MIN;
        assert!(self.0.schedule_plan(account, plan.clone(), at, now));
    }

    async fn close(&self, account: AccountId) {
        assert!(self.0.close_account(account));
    }
}

mod plain {
    use super::*;

    async fn keys() -> Fixture<dyn KeyStore> {
        let store = MemoryStore::new();
        Fixture::new(Arc::new(store.clone()), MemoryAccounts(store))
    }

    async fn quota() -> Fixture<dyn QuotaStore> {
        Fixture::new(Arc::new(MemoryStore::new()), MadeUpAccounts)
    }

    async fn sink() -> Fixture<dyn UsageSink> {
        Fixture::new(Arc::new(MemoryStore::new()), MadeUpAccounts)
    }

    async fn usage() -> Fixture<dyn UsageStore> {
        Fixture::new(Arc::new(MemoryStore::new()), MadeUpAccounts)
    }

    async fn settling() -> Fixture<dyn SettlingStore> {
        Fixture::new(Arc::new(MemoryStore::new()), MadeUpAccounts)
    }

    async fn counting() -> Fixture<dyn CountingStore> {
        let store = MemoryStore::new();
        Fixture::new(Arc::new(store.clone()), MemoryAccounts(store))
    }

    async fn rate() -> Fixture<dyn RateLimiter> {
        Fixture::new(Arc::new(MemoryRateLimiter::new()), MadeUpAccounts)
    }

    mod key_store {
        hm_metering::key_store_tests!(super::keys);
    }

    mod quota_store {
        hm_metering::quota_store_tests!(super::quota);
    }

    mod usage_sink {
        hm_metering::usage_sink_tests!(super::sink);
    }

    mod usage_store {
        hm_metering::usage_store_tests!(super::usage);
    }

    mod settling_store {
        hm_metering::settling_store_tests!(super::settling);
    }

    mod counting_store {
        hm_metering::counting_store_tests!(super::counting);
    }

    mod rate_limiter {
        hm_metering::rate_limiter_tests!(super::rate);
    }
}

mod shared {
    use super::*;

    async fn keys() -> Fixture<dyn KeyStore> {
        let store = MemoryStore::new();
        let shared: Arc<dyn KeyStore> = Arc::new(store.clone());
        Fixture::new(Arc::new(shared), MemoryAccounts(store))
    }

    async fn quota() -> Fixture<dyn QuotaStore> {
        let shared: Arc<dyn QuotaStore> = Arc::new(MemoryStore::new());
        Fixture::new(Arc::new(shared), MadeUpAccounts)
    }

    async fn sink() -> Fixture<dyn UsageSink> {
        let shared: Arc<dyn UsageSink> = Arc::new(MemoryStore::new());
        Fixture::new(Arc::new(shared), MadeUpAccounts)
    }

    async fn usage() -> Fixture<dyn UsageStore> {
        let shared: Arc<dyn UsageStore> = Arc::new(MemoryStore::new());
        Fixture::new(Arc::new(shared), MadeUpAccounts)
    }

    async fn settling() -> Fixture<dyn SettlingStore> {
        let shared: Arc<dyn SettlingStore> = Arc::new(MemoryStore::new());
        Fixture::new(Arc::new(shared), MadeUpAccounts)
    }

    async fn counting() -> Fixture<dyn CountingStore> {
        let store = MemoryStore::new();
        let shared: Arc<dyn CountingStore> = Arc::new(store.clone());
        Fixture::new(Arc::new(shared), MemoryAccounts(store))
    }

    async fn rate() -> Fixture<dyn RateLimiter> {
        let shared: Arc<dyn RateLimiter> = Arc::new(MemoryRateLimiter::new());
        Fixture::new(Arc::new(shared), MadeUpAccounts)
    }

    mod key_store {
        hm_metering::key_store_tests!(super::keys);
    }

    mod quota_store {
        hm_metering::quota_store_tests!(super::quota);
    }

    mod usage_sink {
        hm_metering::usage_sink_tests!(super::sink);
    }

    mod usage_store {
        hm_metering::usage_store_tests!(super::usage);
    }

    mod settling_store {
        hm_metering::settling_store_tests!(super::settling);
    }

    mod counting_store {
        hm_metering::counting_store_tests!(super::counting);
    }

    mod rate_limiter {
        hm_metering::rate_limiter_tests!(super::rate);
    }
}
