//! Accounts and the change feed.

use hm_metering::keys::ChangeSubject;
use hm_metering::{AccountId, KeyStore, PlanId, StoreErrorKind};
use hm_metering_seaorm::sea_orm::TransactionTrait;
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{schedule_tier_in, set_tier_in};
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

#[tokio::test]
async fn a_scheduled_move_takes_effect_by_itself_and_is_written_down_by_the_next() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let key = new_key(account);
        store.insert(&key).await.unwrap();
        let [pro, free] = ["pro", "free"].map(PlanId::from_static);
        let start = store.changes_since(None, 10).await.unwrap().cursor;
        let find = async || store.find_by_digest(&[key.digest]).await.unwrap().unwrap();

        store
            .schedule_tier(account, &pro, later(10), later(1))
            .await
            .unwrap();
        store
            .schedule_tier(account, &pro, later(10), later(2))
            .await
            .unwrap();
        let found = find().await;
        assert_eq!(found.plan_at(later(9)), (&free, Some(later(10))));
        assert_eq!(found.plan_at(later(10)), (&pro, None));

        // Before its time a move is replaced, after it it is where the account comes from.
        store
            .schedule_tier(account, &pro, later(20), later(9))
            .await
            .unwrap();
        assert_eq!(find().await.plan_at(later(19)).0, &free);
        store
            .schedule_tier(account, &free, later(40), later(30))
            .await
            .unwrap();
        let found = find().await;
        assert_eq!(found.plan_at(later(39)), (&pro, Some(later(40))));
        assert_eq!(found.plan_at(later(40)), (&free, None));

        // A move at once to the plan that the row names takes back the one that is scheduled.
        store.set_tier(account, &pro, later(35)).await.unwrap();
        assert_eq!(find().await.plan_at(later(50)), (&pro, None));
        let page = store.changes_since(Some(start), 10).await.unwrap();
        assert_eq!(page.changes, [ChangeSubject::Account(account); 4]);

        let stranger = AccountId::from_uuid(Uuid::new_v4());
        let error = store
            .schedule_tier(stranger, &pro, later(2), later(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound);

        // In a transaction of the caller's it happens with it, or not at all.
        let lost = store.connection().begin().await.unwrap();
        schedule_tier_in(&lost, account, &free, later(60), later(50))
            .await
            .unwrap();
        lost.rollback().await.unwrap();
        assert_eq!(find().await.next_plan, None);
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
