use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use hm_metering::conformance::{Fixture, MadeUpAccounts, SettlingStore, settling};
use hm_metering::error::StoreResult;
use hm_metering::quota::{
    Balance, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaWindow, Release, Settlement, StoreIdentity,
    WindowState,
};
use hm_metering::usage::{Batch, BatchId, Recorded};
use hm_metering::{MemoryStore, QuotaStore, Timestamp, Units, UsageSink};

use super::bites;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    HasTwoIdentities,
    DoesNotSettle,
    SettlesRepeats,
    SettlesRefusedBatches,
    SettlesWhatIsRecorded,
    SettlesWithEventsOnly,
}

struct Broken {
    store: MemoryStore,
    fault: Option<Fault>,
    calls: AtomicU64,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    async fn settle_anew(&self, id: BatchId, settlements: &[Settlement], now: Timestamp) -> StoreResult<()> {
        let number = 1_000 + self.calls.fetch_add(1, Ordering::Relaxed);
        let other = BatchId { number, ..id };
        self.store.settle(id.holder(), other, settlements, now).await
    }
}

#[async_trait]
impl QuotaStore for Broken {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        self.store.lease(ask).await
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        self.store.release(release).await
    }

    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> StoreResult<()> {
        if self.has(Fault::SettlesWhatIsRecorded) {
            return self.settle_anew(batch, settlements, now).await;
        }
        self.store.settle(holder, batch, settlements, now).await
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        self.store.balances(keys).await
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        self.store.windows(windows).await
    }

    async fn close_earlier(&self, holder: Holder, now: Timestamp) -> StoreResult<Units> {
        self.store.close_earlier(holder, now).await
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        let other = MemoryStore::new();
        let store = if self.has(Fault::HasTwoIdentities) {
            &other
        } else {
            &self.store
        };
        store.settled_by()
    }
}

#[async_trait]
impl UsageSink for Broken {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let mut kept = batch.clone();
        let idle = self.has(Fault::SettlesWithEventsOnly) && batch.events.is_empty();
        if self.has(Fault::DoesNotSettle) || idle {
            kept.settlements.clear();
        }
        let answer = self.store.record(&kept).await;
        let again = self.has(Fault::SettlesRepeats) && matches!(answer, Ok(Recorded::Repeated))
            || self.has(Fault::SettlesRefusedBatches) && answer.is_err();
        if again {
            self.settle_anew(batch.id, &batch.settlements, batch.created_at)
                .await?;
        }
        answer
    }

    fn identity(&self) -> Option<StoreIdentity> {
        self.store.identity()
    }
}

fn make(fault: Option<Fault>) -> Fixture<dyn SettlingStore> {
    let broken = Broken {
        store: MemoryStore::new(),
        fault,
        calls: AtomicU64::new(0),
    };
    Fixture::new(Arc::new(broken), MadeUpAccounts)
}

#[tokio::test]
async fn every_fault_of_a_settling_store_is_noticed() {
    let faults = [
        (Fault::HasTwoIdentities, "the_sink_is_the_one_that_settles"),
        (Fault::DoesNotSettle, "recording_settles_once"),
        (Fault::SettlesRepeats, "recording_settles_once"),
        (Fault::SettlesRefusedBatches, "a_refused_batch_settles_nothing"),
        (
            Fault::SettlesWhatIsRecorded,
            "settling_a_recorded_batch_changes_nothing",
        ),
        (Fault::SettlesWithEventsOnly, "an_empty_batch_settles"),
    ];
    bites(settling::cases(), make, &faults).await;
}
