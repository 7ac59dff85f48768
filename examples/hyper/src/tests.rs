//! The service over a real connection.

use hm_metering::MemoryStore;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use tokio::sync::oneshot;

use super::*;

#[tokio::test]
async fn the_fifth_fact_of_a_month_is_refused() {
    let (meter, key) = metering(MemoryStore::new()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fact", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let meter = meter.clone();
        async move { serve(listener, &meter, async { drop(stopped.await) }).await }
    });

    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let request = Request::get(&url).header("x-api-key", key.expose());
        let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
        statuses.push(response.status());
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(statuses[..4], [StatusCode::OK; 4]);
    assert_eq!(statuses[4], StatusCode::TOO_MANY_REQUESTS);

    stop.send(()).unwrap();
    drop(client);
    serving.await.unwrap().unwrap();
    assert!(meter.shutdown(Duration::from_secs(10)).await.recorded);
}
