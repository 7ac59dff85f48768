//! The service over a real connection, on a file and a journal of its own.

use axum::http::{Request, StatusCode};
use bytes::Bytes;
use hm_metering::Timestamp;
use hm_metering::UsageStore;
use hm_metering::usage::UsageQuery;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn the_fifth_fact_of_a_day_is_refused_and_a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "sqlite://{}?mode=rwc",
        folder.path().join("facts.sqlite").display()
    );
    let store = SeaOrmStore::open(&url).await.unwrap();
    let peppers = Peppers::new(Pepper::new(1, b"a pepper of 32 bytes, or longer.").unwrap());
    let key = sign_up(&store, peppers.clone()).await.unwrap();
    let mut account = None;
    // Four facts in the first run; the second run knows of them.
    for (run, statuses) in [("first", &[200, 200, 200, 200, 429][..]), ("second", &[429][..])] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/fact", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        // In one process a run may hold its folder for a moment longer; it has left nothing there.
        let journal = folder.path().join(run);
        let serving = async {
            let stop = async { drop(stopped.await) };
            serve(listener, store.clone(), peppers.clone(), &journal, stop).await
        };
        let asking = async {
            let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
            let no_key = Request::get(&url).body(Empty::new()).unwrap();
            let answer = client.request(no_key).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            for expected in statuses {
                let request = Request::get(&url).header("x-api-key", key.expose());
                let answer = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
                assert_eq!(answer.status().as_u16(), *expected);
                let text = answer.into_body().collect().await.unwrap().to_bytes();
                if let Some(told) = account_in(&text) {
                    account = Some(told);
                }
            }
            stop.send(()).unwrap();
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
    }
    let query = UsageQuery::new(account.unwrap(), Timestamp::MIN, Timestamp::MAX);
    let totals = store.totals(&query).await.unwrap();
    assert_eq!(totals.requests, 6, "{totals:?}");
}

/// The account that a fact names.
fn account_in(fact: &[u8]) -> Option<AccountId> {
    let text = std::str::from_utf8(fact).unwrap();
    let (_, rest) = text.split_once("for account ")?;
    rest.split(':').next()?.parse().ok()
}
