//! What an account has used.

use std::time::Duration;

use hm_metering::page::{Page, PageRequest};
use hm_metering::period::Period;
use hm_metering::quota::QuotaKey;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{
    AccountId, Meter, MeterName, PlanId, Plans, QuotaStore, StoreError, StoreErrorKind, Timestamp, Units,
    UsageStore,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::account;

use super::DomainError;

/// How long to wait for finished requests to be written.
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);

/// Where usage is read.
#[derive(Debug)]
pub struct Usage {
    store: SeaOrmStore,
    meter: Meter,
    plans: Plans,
}

/// An account's quota of requests in the current period, and its latest requests.
#[derive(Debug)]
pub struct UsageReport {
    /// The period.
    pub period: Period,
    /// What the plan allows; `None` is unlimited.
    pub quota: Option<Units>,
    /// What was charged.
    pub used: Units,
    /// Requests of the period, newest first.
    pub requests: Page<Event>,
}

impl Usage {
    /// Usage in `store`, which `meter` writes.
    #[must_use]
    pub fn new(store: SeaOrmStore, meter: Meter, plans: Plans) -> Self {
        Self { store, meter, plans }
    }

    /// What the account has used in the period that `now` lies in. Every request that this server has answered is in it.
    ///
    /// # Errors
    ///
    /// The store fails, or can't be written to in time.
    pub async fn report(
        &self,
        account: &account::Model,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<UsageReport, DomainError> {
        if !self.meter.flush(FLUSH_DEADLINE).await {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "write finished requests").into());
        }
        let unknown_plan = || StoreError::new(StoreErrorKind::Corrupt, "find the account's plan");
        let plan = PlanId::parse(account.tier_at(now))
            .ok()
            .and_then(|id| self.plans.get(&id))
            .ok_or_else(unknown_plan)?;
        let quota = plan
            .quotas
            .iter()
            .find(|quota| quota.meter == MeterName::REQUESTS)
            .ok_or_else(unknown_plan)?;
        let period = quota
            .period
            .period_at(now, Timestamp::from_micros(account.created_at));
        let account = AccountId::from_uuid(account.id);
        let counter = QuotaKey {
            account,
            key: None,
            meter: MeterName::REQUESTS,
            period,
        };
        let balances = self.store.balances(&[counter]).await?;
        let query = UsageQuery::new(account, period.start, period.end);
        let requests = self
            .store
            .recent(&query, page)
            .await
            .map_err(|error| match error.kind() {
                StoreErrorKind::Invalid => DomainError::InvalidCursor,
                _ => error.into(),
            })?;
        let used = balances.first().map_or(Units::ZERO, |balance| balance.used);
        Ok(UsageReport {
            period,
            quota: quota.limit,
            used,
            requests,
        })
    }
}
