//! `prune`.

use hm_metering::usage::UsageQuery;
use hm_metering::{Timestamp, UsageStore};
use hm_metering_seaorm::testing::TestDatabase;
use hm_server::cli::Command;
use sea_orm::ConnectionTrait;

use super::place::{NOON, Place, config_at};
use super::{CHECK, change, use_some};

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

/// The months that events have tables for on PostgreSQL.
async fn months(place: &Place) -> Vec<String> {
    let store = place.store().await;
    let months = "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
                  WHERE inhparent = CAST('usage_events' AS regclass) AND relname LIKE '%\\_20%' ORDER BY 1";
    let months = sea_orm::Statement::from_string(store.connection().get_database_backend(), months);
    let rows = store.connection().query_all_raw(months).await.unwrap();
    let name = |row: &sea_orm::QueryResult| row.try_get_by_index(0).unwrap();
    rows.iter().map(name).collect()
}

#[tokio::test]
async fn months_are_made_ahead_when_a_server_starts_and_by_migrating_and_old_ones_are_dropped() {
    let Some(server) = TestDatabase::empty_postgres().await.unwrap() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = config_at(server.url(), folder.path());
    let place = Place {
        folder,
        config,
        server: Some(server),
    };
    // Starts a server, on 12 November.
    let account = place.account().await;
    let ahead = [
        "usage_events_2026_11",
        "usage_events_2026_12",
        "usage_events_2027_01",
    ];
    assert_eq!(months(&place).await, ahead);
    let store = place.store().await;
    let drop = "DROP TABLE usage_events_2026_12";
    store.connection().execute_unprepared(drop).await.unwrap();
    place.run(Command::MigrateUp).await.unwrap();
    assert_eq!(months(&place).await, ahead);

    let august = Timestamp::from_micros(NOON.as_micros() - 100 * 86_400_000_000);
    hm_metering_seaorm::operator::make_partitions(&store, august)
        .await
        .unwrap();
    use_some(&store, account, 1).await;
    let prune = Command::Prune {
        keep_days: 30,
        keep_minutes_days: None,
    };
    let (_, said) = place.run(prune).await.unwrap();
    assert!(said.contains("dropped 2 partitions"), "{said}");
    assert!(said.contains("removed 0 events"), "{said}");
    assert_eq!(months(&place).await[0], "usage_events_2026_10");
    let (_, said) = place.run(CHECK).await.unwrap();
    assert!(said.contains("0 differences"), "{said}");
    place.finish().await;
}
