//! [`QuotaStore`] on SQL.
//!
//! Whoever changes a counter or one of its leases holds the counter's row until the transaction ends. Counters are
//! taken in the order of their keys, so two transactions can't wait for each other. Leases of windows that move with time
//! also hold a row that all counters of their account or key and meter have in common. `meter.rs` says how counters of keys are
//! told from those of accounts.

pub(super) mod close;
mod counter;
pub(super) mod lease;
pub(super) mod meter;
mod release;
pub(super) mod settle;

use async_trait::async_trait;
use hm_metering::quota::{
    Balance, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaWindow, Release, Settlement, StoreIdentity,
    WindowState,
};
use hm_metering::usage::BatchId;
use hm_metering::{QuotaStore, StoreResult, Timestamp, Units};

use self::close::Runs;
pub(super) use self::counter::CounterKey;
use self::settle::Settle;
use super::SeaOrmStore;

#[async_trait]
impl QuotaStore for SeaOrmStore {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        self.transact("lease quota", lease::Lease(ask.clone())).await
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        self.transact("release quota", release::GiveBack(release.clone()))
            .await
    }

    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> StoreResult<()> {
        let settlements = settlements.to_vec();
        self.transact(
            "settle quota",
            Settle {
                holder,
                batch,
                settlements,
                now,
            },
        )
        .await
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        self.read("read quota balances", keys.to_vec(), |db, keys| async move {
            counter::balances(&db, &keys).await
        })
        .await
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        self.read("read quota windows", windows.to_vec(), |db, windows| async move {
            counter::windows(&db, &windows).await
        })
        .await
    }

    async fn close_earlier(&self, holder: Holder, now: Timestamp) -> StoreResult<Units> {
        let deadline = Some(self.0.patience.operation);
        let closed = close::close(self, "close earlier leases", deadline, Runs::But(holder), now).await?;
        Ok(closed.units)
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        Some(self.0.identity)
    }
}
