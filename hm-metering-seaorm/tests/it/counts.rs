//! The number of charged events in a summary is held against the events, and never put right.

use hm_metering::usage::Event;
use hm_metering::{AccountId, MeterName, UsageSink, UsageStore};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::{usage_correction, usage_summary};
use hm_metering_seaorm::operator::{self, Difference, Witness};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, EntityTrait};
use hm_metering_seaorm::testing::TestDatabase;

use crate::fixtures::{account, batch, counter, event, holder, later, settlement, store};

const TOKENS: MeterName = MeterName::from_static("tokens");

/// Ten events that cost a request, and seven tokens each but for the last three.
async fn used(store: &SeaOrmStore) -> AccountId {
    let account = account(store).await;
    record(store, account, 0).await;
    account
}

async fn record(store: &SeaOrmStore, account: AccountId, days: i64) {
    let events = (0..10).map(|place| Event {
        units: [
            (MeterName::REQUESTS, 1_u32),
            (TOKENS, if place < 7 { 7 } else { 0 }),
        ]
        .map(|(meter, units)| (meter, units.into()))
        .into(),
        ..event(account, None)
    });
    let requests = counter(account);
    let mut tokens = requests.clone();
    tokens.meter = TOKENS;
    let settlements = vec![settlement(&requests, None, 10), settlement(&tokens, None, 49)];
    let mut batch = batch(holder(), 1, events.collect(), settlements);
    batch.created_at = later(days * 86_400);
    store.record(&batch).await.unwrap();
}

async fn differences(store: &SeaOrmStore) -> Vec<Difference> {
    let mut found = Vec::new();
    operator::check(store, |difference| found.push(difference.clone()))
        .await
        .unwrap();
    found
}

async fn shown(store: &SeaOrmStore) -> Vec<String> {
    let text = |difference: &Difference| {
        assert_eq!(difference.witness, Witness::Summary);
        assert!(!difference.witness.is_rollup());
        let text = difference.to_string();
        let (_, rest) = text.split_once(" events charged").unwrap();
        let (meter, numbers) = (rest.split(' ').nth(3).unwrap(), rest.rsplit("Z ").next().unwrap());
        format!("{meter}: {numbers}")
    };
    differences(store).await.iter().map(text).collect()
}

async fn change(store: &SeaOrmStore, sql: &str) {
    let changed = store.connection().execute_unprepared(sql).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

#[tokio::test]
async fn a_number_of_events_that_was_changed_in_an_open_summary_is_found() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        used(&store).await;
        assert_eq!(differences(&store).await, []);
        let one_more = "UPDATE usage_summaries SET count = count + 1 WHERE meter = 'requests'";
        change(&store, one_more).await;
        assert_eq!(shown(&store).await, ["requests: events 10 summary 11"]);
        let none = "UPDATE usage_summaries SET count = 0 WHERE meter = 'tokens'";
        change(&store, none).await;
        assert_eq!(
            shown(&store).await,
            ["requests: events 10 summary 11", "tokens: events 7 summary 0"]
        );
        // Nobody knows any more which of the two is wrong.
        store.prune(later(90_000), 1_000).await.unwrap();
        assert_eq!(differences(&store).await, []);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_summary_is_compared_with_what_came_late_and_left_as_it_is() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = used(&store).await;
        let closed = operator::close_periods(&store, later(3 * 86_400), operator::CLOSING_GRACE, 10).await;
        assert_eq!(closed.unwrap(), 2);
        record(&store, account, 4).await;
        assert_eq!(differences(&store).await, []);
        let one_less = "UPDATE usage_corrections SET count = count - 1 WHERE meter = 'tokens'";
        change(&store, one_less).await;
        assert_eq!(shown(&store).await, ["tokens: events 14 summary 13"]);
        change(
            &store,
            "UPDATE usage_summaries SET count = 5 WHERE meter = 'requests'",
        )
        .await;
        let expected = ["requests: events 20 summary 15", "tokens: events 14 summary 13"];
        assert_eq!(shown(&store).await, expected);

        let rows = async || {
            let db = store.connection();
            let summaries = usage_summary::Entity::find().all(db).await.unwrap();
            (summaries, usage_correction::Entity::find().all(db).await.unwrap())
        };
        let before = rows().await;
        operator::rebuild_rollups(&store, account, later(0))
            .await
            .unwrap();
        assert_eq!(
            (rows().await, shown(&store).await),
            (before, expected.map(str::to_owned).into())
        );
        database.close().await.unwrap();
    }
}
