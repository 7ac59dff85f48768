use std::sync::Arc;

use async_trait::async_trait;
use hm_metering::conformance::{CountingStore, Fixture, counting};
use hm_metering::error::StoreResult;
use hm_metering::key::{KeyDigest, KeyHash};
use hm_metering::keys::{ChangeCursor, ChangePage, KeyPatch, KeyRecord, KeyUse, NewKey, StoredKey};
use hm_metering::page::{Page, PageRequest};
use hm_metering::quota::StoreIdentity;
use hm_metering::usage::{Batch, Recorded};
use hm_metering::{AccountId, KeyId, KeyStore, MemoryStore, Timestamp, UsageSink};

use super::bites;
use crate::conformance::MemoryAccounts;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    HasTwoIdentities,
    CountsNothing,
    CountsRefusals,
    CountsRepeats,
    CountsRefusedBatches,
}

struct Broken {
    store: MemoryStore,
    fault: Option<Fault>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

#[async_trait]
impl KeyStore for Broken {
    async fn insert(&self, key: &NewKey) -> StoreResult<KeyRecord> {
        self.store.insert(key).await
    }

    async fn find_by_digest(&self, digests: &[KeyDigest]) -> StoreResult<Option<StoredKey>> {
        self.store.find_by_digest(digests).await
    }

    async fn get(&self, account: AccountId, key: KeyId) -> StoreResult<Option<KeyRecord>> {
        self.store.get(account, key).await
    }

    async fn list(&self, account: AccountId, page: &PageRequest) -> StoreResult<Page<KeyRecord>> {
        self.store.list(account, page).await
    }

    async fn update(
        &self,
        account: AccountId,
        key: KeyId,
        patch: &KeyPatch,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        self.store.update(account, key, patch, now).await
    }

    async fn revoke(&self, account: AccountId, key: KeyId, now: Timestamp) -> StoreResult<Option<KeyRecord>> {
        self.store.revoke(account, key, now).await
    }

    async fn rotate(
        &self,
        account: AccountId,
        key: KeyId,
        replacement: &NewKey,
        old_expires_at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<KeyRecord>> {
        self.store
            .rotate(account, key, replacement, old_expires_at, now)
            .await
    }

    async fn rehash(&self, key: KeyId, from: &KeyDigest, to: &KeyHash) -> StoreResult<bool> {
        self.store.rehash(key, from, to).await
    }

    async fn mark_used(&self, uses: &[KeyUse]) -> StoreResult<()> {
        self.store.mark_used(uses).await
    }

    async fn changes_since(&self, cursor: Option<ChangeCursor>, limit: usize) -> StoreResult<ChangePage> {
        self.store.changes_since(cursor, limit).await
    }

    fn uses_counted_by(&self) -> Option<StoreIdentity> {
        let other = MemoryStore::new();
        let store = if self.has(Fault::HasTwoIdentities) {
            &other
        } else {
            &self.store
        };
        store.uses_counted_by()
    }
}

#[async_trait]
impl UsageSink for Broken {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let mut kept = batch.clone();
        if self.has(Fault::CountsNothing) {
            kept.events.iter_mut().for_each(|event| event.key = None);
        }
        let answer = self.store.record(&kept).await;
        let counts_more = |use_is_counted: fn(&hm_metering::usage::Event) -> bool| {
            let uses = batch.events.iter().filter(|event| use_is_counted(event));
            let uses = uses.filter_map(|event| {
                Some(KeyUse {
                    key: event.key?,
                    count: 1,
                    last_used_at: event.at,
                })
            });
            uses.collect::<Vec<_>>()
        };
        let more = match &answer {
            Ok(Recorded::New) if self.has(Fault::CountsRefusals) => {
                counts_more(|event| !event.outcome.reached_handler())
            }
            Ok(Recorded::Repeated) if self.has(Fault::CountsRepeats) => counts_more(|_| true),
            Err(_) if self.has(Fault::CountsRefusedBatches) => counts_more(|_| true),
            _ => Vec::new(),
        };
        self.store.mark_used(&more).await?;
        answer
    }

    fn identity(&self) -> Option<StoreIdentity> {
        self.store.identity()
    }
}

fn make(fault: Option<Fault>) -> Fixture<dyn CountingStore> {
    let store = MemoryStore::new();
    let broken = Broken {
        store: store.clone(),
        fault,
    };
    Fixture::new(Arc::new(broken), MemoryAccounts(store))
}

#[tokio::test]
async fn every_fault_of_a_counting_store_is_noticed() {
    let faults = [
        (Fault::HasTwoIdentities, "the_sink_is_the_one_that_counts"),
        (Fault::CountsNothing, "recording_counts_what_reached_the_handler"),
        (Fault::CountsRefusals, "recording_counts_what_reached_the_handler"),
        (Fault::CountsRepeats, "recording_again_counts_nothing"),
        (Fault::CountsRefusedBatches, "a_refused_batch_counts_nothing"),
    ];
    bites(counting::cases(), make, &faults).await;
}
