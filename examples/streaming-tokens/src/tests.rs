//! What the ledger says after streams of all lengths.

use axum::body::Body;
use bytes::Bytes;
use hm_metering::page::PageRequest;
use hm_metering::usage::{Event, Outcome, UsageQuery};
use hm_metering::{Timestamp, UsageStore};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::ServiceExt;

use super::*;

/// The events of the store's one account, newest first, after what is finished is recorded.
async fn events(meter: &Meter, store: &MemoryStore, key: &IssuedKey) -> Vec<Event> {
    assert!(meter.flush(Duration::from_secs(10)).await);
    let account = account_of(store, key).await;
    let query = UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX);
    store.recent(&query, &PageRequest::first(10)).await.unwrap().items
}

async fn account_of(store: &MemoryStore, key: &IssuedKey) -> AccountId {
    let peppers = Peppers::new(Pepper::new(1, b"a pepper of 32 bytes, or longer.").unwrap());
    let digests = peppers.digests(&key.to_presented());
    store
        .find_by_digest(&digests)
        .await
        .unwrap()
        .unwrap()
        .record
        .account
}

#[tokio::test]
async fn a_whole_answer_is_charged_for_its_tokens_and_the_rest_goes_back() {
    let store = MemoryStore::new();
    let (meter, key) = metering(store.clone()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/chat", listener.local_addr().unwrap());
    let app = app(&meter, Duration::ZERO).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = async || {
        let request = axum::http::Request::get(&url).header("x-api-key", key.expose());
        let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    };
    let tokens = ANSWER.split(' ').count();
    let (status, text) = answer().await;
    assert_eq!(status, 200);
    assert_eq!(
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        tokens
    );

    let events = events(&meter, &store, &key).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].outcome, Outcome::Completed);
    assert_eq!(events[0].units_of(&TOKENS), Units::new(tokens as u64));
    assert_eq!(events[0].tags, [("model".to_owned(), "honey-1".to_owned())]);

    // 120 - 17 are left, enough to reserve 100 a second time. Then there are too few.
    assert_eq!(answer().await.0, 200);
    assert_eq!(answer().await.0, 429);
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_the_tokens_it_got() {
    let store = MemoryStore::new();
    let (meter, key) = metering(store.clone()).await.unwrap();
    let request = axum::http::Request::get("/chat").header("x-api-key", key.expose());
    let app = app(&meter, Duration::ZERO).unwrap();
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let mut body = response.into_body();
    for _ in 0..3 {
        body.frame().await.unwrap().unwrap();
    }
    drop(body);

    let events = events(&meter, &store, &key).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].outcome, Outcome::ClientGone);
    assert_eq!(events[0].units_of(&TOKENS), Units::new(3));
}
