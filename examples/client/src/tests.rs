//! The client against the stand-in for an upstream, over real connections.

use hm_metering::UsageStore;
use hm_metering::usage::UsageQuery;
use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn the_budget_ends_before_the_upstream_is_asked() {
    let store = MemoryStore::new();
    let account = AccountId::from_uuid(Uuid::now_v7());
    let meter = metering(store.clone(), account, "secret").await.unwrap();
    let address = upstream::start().await.unwrap();
    let mut client = client(&meter);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let request = Request::get(format!("http://{address}/"))
            .header("authorization", "Bearer secret")
            .body(Empty::new())
            .unwrap();
        let response = client.ready().await.unwrap().call(request).await.unwrap();
        statuses.push(response.status().as_u16());
        response.into_body().collect().await.unwrap();
    }
    // Of 100 tokens 25 are taken each time; 40 can be reserved three times.
    assert_eq!(statuses, [200, 200, 200, 429, 429]);

    assert!(meter.flush(Duration::from_secs(10)).await);
    let query = UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX);
    let totals = store.totals(&query).await.unwrap();
    assert_eq!((totals.requests, totals.refused), (5, 2));
    assert_eq!(totals.units[&TOKENS], Units::new(75));
}
