//! Pruning what is only kept so that repeats change nothing.

use hm_metering::quota::Holder;
use hm_metering::usage::Recorded;
use hm_metering::{KeyStore, QuotaStore, ReplicaId, Units, UsageSink};
use hm_metering_seaorm::operator::{self, PrunedBookkeeping, prune_bookkeeping};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Builder;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, later, new_key, settlement, store};

#[tokio::test]
async fn old_names_of_batches_closed_leases_and_changes_are_removed_and_nothing_else_changes() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let counter = counter(account);
        let run = Holder { epoch: 1, ..holder() };
        let grant = store.lease(&ask(run, 1, &counter, 100, 10)).await.unwrap();
        store.lease(&ask(holder(), 1, &counter, 100, 10)).await.unwrap();
        let one = |holder, number, lease| {
            let events = vec![event(account, None)];
            batch(holder, number, events, vec![settlement(&counter, lease, 1)])
        };
        let imported = Holder {
            replica: ReplicaId::from_uuid(Builder::from_custom_bytes([7; 16]).into_uuid()),
            epoch: 1,
        };
        let old = one(run, 1, Some(grant.token));
        let mut young = one(run, 2, None);
        young.created_at = later(50);
        let import = one(imported, 1, None);
        for batch in [&old, &young, &import] {
            assert_eq!(store.record(batch).await.unwrap(), Recorded::New);
        }
        let next = Holder { epoch: 2, ..run };
        assert_eq!(store.close_earlier(next, NOW).await.unwrap(), Units::new(9));
        let revoke = async || {
            let key = store.insert(&new_key(account)).await.unwrap();
            store.revoke(account, key.id, later(1)).await.unwrap();
        };
        revoke().await;
        revoke().await;

        let nothing = PrunedBookkeeping::default();
        assert_eq!(prune_bookkeeping(&store, NOW).await.unwrap(), nothing);
        let removed = prune_bookkeeping(&store, later(2)).await.unwrap();
        assert_eq!((removed.batches, removed.leases, removed.changes), (1, 1, 1));
        assert_eq!(prune_bookkeeping(&store, later(2)).await.unwrap(), nothing);

        for batch in [&young, &import] {
            assert_eq!(store.record(batch).await.unwrap(), Recorded::Repeated);
        }
        // The feed goes on behind what it last told.
        let start = store.changes_since(None, 10).await.unwrap();
        revoke().await;
        let told = store.changes_since(Some(start.cursor), 10).await.unwrap();
        assert_eq!(told.changes.len(), 1);
        let mut found = Vec::new();
        operator::check(&store, |difference| found.push(difference.to_string()))
            .await
            .unwrap();
        assert_eq!(found, Vec::<String>::new());
        let granted = store.lease(&ask(next, 1, &counter, 100, 10)).await.unwrap();
        assert_eq!(granted.granted, Units::new(10));
        database.close().await.unwrap();
    }
}
