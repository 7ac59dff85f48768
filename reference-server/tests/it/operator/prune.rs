//! `prune`.

use hm_metering::usage::UsageQuery;
use hm_metering::{Timestamp, UsageStore};
use hm_server::cli::Command;

use super::place::Place;
use super::{change, use_some};

#[tokio::test]
async fn pruning_removes_what_is_old_and_nothing_else() {
    for place in Place::all().await {
        let account = place.account().await;
        let store = place.store().await;
        use_some(&store, account, 1).await;
        let query = UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX);
        let before = store.totals(&query).await.unwrap();
        change(&store, "UPDATE usage_events SET created_at = created_at - 172800000000 WHERE created_at < 1795310000000000").await;
        let prune = Command::Prune {
            keep_days: 1,
            keep_minutes_days: Some(1),
        };
        let (_, said) = place.run(prune).await.unwrap();
        assert!(said.contains("removed 9 events"), "{said}");
        assert_eq!(store.totals(&query).await.unwrap(), before);
        place.finish().await;
    }
}
