//! Accounts and the change feed.

use hm_metering::keys::ChangeSubject;
use hm_metering::{AccountId, KeyStore, PlanId, StoreErrorKind};
use hm_metering_seaorm::sea_orm::TransactionTrait;
use hm_metering_seaorm::set_tier_in;
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{account, later, new_key, store};

#[tokio::test]
async fn a_change_of_plan_is_seen_by_look_ups_and_in_the_feed_once() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let key = new_key(account);
        store.insert(&key).await.unwrap();
        let start = store.changes_since(None, 10).await.unwrap().cursor;
        let pro = PlanId::from_static("pro");
        store.set_tier(account, &pro, later(1)).await.unwrap();
        store.set_tier(account, &pro, later(2)).await.unwrap();
        store.close_account(account, later(3)).await.unwrap();
        store.close_account(account, later(4)).await.unwrap();

        let found = store.find_by_digest(&[key.digest]).await.unwrap().unwrap();
        assert_eq!((found.plan, found.account_open), (pro.clone(), false));
        let page = store.changes_since(Some(start), 10).await.unwrap();
        assert_eq!(page.changes, [ChangeSubject::Account(account); 2]);
        store.reopen_account(account, later(5)).await.unwrap();
        assert!(
            store
                .find_by_digest(&[key.digest])
                .await
                .unwrap()
                .unwrap()
                .account_open
        );

        let stranger = AccountId::from_uuid(Uuid::new_v4());
        let error = store.set_tier(stranger, &pro, later(1)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound);
        let error = store.insert(&new_key(stranger)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound);
        database.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_commits_late_is_not_skipped_by_the_feed() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let key = store.insert(&new_key(account)).await.unwrap();
        let start = store.changes_since(None, 10).await.unwrap().cursor;

        // It takes its number in the feed, and keeps the transaction open.
        let late = store.connection().begin().await.unwrap();
        set_tier_in(&late, account, &PlanId::from_static("pro"), later(1))
            .await
            .unwrap();
        let revoking = {
            let store = store.clone();
            tokio::spawn(async move { store.revoke(account, key.id, later(2)).await.unwrap() })
        };
        let mut cursor = start;
        let mut seen = Vec::new();
        for _ in 0..20 {
            let page = store.changes_since(Some(cursor), 10).await.unwrap();
            seen.extend(page.changes);
            cursor = page.cursor;
            tokio::task::yield_now().await;
        }
        late.commit().await.unwrap();
        revoking.await.unwrap();
        let page = store.changes_since(Some(cursor), 10).await.unwrap();
        seen.extend(page.changes);
        let expected = [
            ChangeSubject::Account(account),
            ChangeSubject::Key {
                key: key.id,
                version: 2,
            },
        ];
        assert_eq!(seen, expected);
        database.close().await.unwrap();
    }
}
