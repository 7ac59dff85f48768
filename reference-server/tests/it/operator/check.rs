//! `check`: what is written twice agrees, and what is not is told.

use hm_metering_seaorm::entity::quota_counter;
use hm_server::operator::Verdict;
use sea_orm::EntityTrait;

use super::place::Place;
use super::{CHECK, REPAIR, change, use_some};

#[tokio::test]
async fn a_check_of_a_sound_ledger_is_clean() {
    for place in Place::all().await {
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well);
        assert!(said.contains("checked 0 accounts"), "{said}");
        let account = place.account().await;
        use_some(&place.store().await, account, 1).await;
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        assert!(said.contains("checked 1 accounts, 1 counters"), "{said}");
        place.finish().await;
    }
}

#[tokio::test]
async fn a_check_says_who_differs_where_and_by_what_and_a_repair_leaves_counters_and_events_alone() {
    for place in Place::all().await {
        let account = place.account().await;
        let store = place.store().await;
        use_some(&store, account, 1).await;

        change(
            &store,
            "UPDATE usage_rollup_sums SET units = units + 5, requests = requests + 5 WHERE grain = 2",
        )
        .await;
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Differs);
        for part in [
            account.to_string().as_str(),
            "requests",
            "2026-11-22T00:00:00Z",
            "rollups by day",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let (verdict, said) = place.run(REPAIR).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        assert_eq!(place.run(CHECK).await.unwrap().0, Verdict::Well);

        for (sql, shown) in [
            (
                "UPDATE usage_rollup_endpoints SET refused = 4 WHERE grain = 1",
                "refused events",
            ),
            ("DELETE FROM usage_active_days", "active days 0"),
        ] {
            change(&store, sql).await;
            let (verdict, said) = place.run(CHECK).await.unwrap();
            assert_eq!(verdict, Verdict::Differs);
            assert!(said.contains(shown), "{said}");
            let (verdict, said) = place.run(REPAIR).await.unwrap();
            assert_eq!(verdict, Verdict::Well, "{said}");
        }

        change(&store, "UPDATE quota_counters SET used = used + 3").await;
        for command in [CHECK, REPAIR, CHECK] {
            let (verdict, said) = place.run(command).await.unwrap();
            assert_eq!(verdict, Verdict::Differs);
            assert!(said.contains("counter 23 events 20 rollups 20"), "{said}");
        }
        let counters = quota_counter::Entity::find()
            .all(store.connection())
            .await
            .unwrap();
        assert_eq!(counters[0].used, 23);
        change(&store, "UPDATE quota_counters SET used = used - 3").await;

        change(
            &store,
            "DELETE FROM usage_events WHERE created_at > 1795348000000000",
        )
        .await;
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Differs);
        assert!(said.contains("counter 20 events 19 rollups 20"), "{said}");
        place.finish().await;
    }
}
