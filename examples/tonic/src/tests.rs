//! The service over a real connection, with a client of tonic.

use http::uri::PathAndQuery;
use tokio::sync::oneshot;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::*;
use crate::service::{CountTo, Number};

/// Counts to `last` and answers how many numbers came.
async fn count(channel: &Channel, key: Option<&str>, last: u32) -> Result<u32, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(CountTo { last });
    if let Some(key) = key {
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    }
    let path = PathAndQuery::from_static("/counting.Counting/Count");
    let codec = ProstCodec::<CountTo, Number>::default();
    let mut numbers = client.server_streaming(request, path, codec).await?.into_inner();
    let mut came = 0;
    while let Some(number) = numbers.message().await? {
        came += 1;
        assert_eq!(number.value, came);
    }
    Ok(came)
}

#[tokio::test]
async fn each_number_of_a_stream_is_a_unit() {
    let (meter, key) = metering(MemoryStore::new()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let meter = meter.clone();
        async move { serve(listener, &meter, async { drop(stopped.await) }).await }
    });
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();

    assert_eq!(count(&channel, Some(key.expose()), 5).await.unwrap(), 5);
    // It takes nothing to hear that a call makes no sense.
    let too_far = count(&channel, Some(key.expose()), 6).await.unwrap_err();
    assert_eq!(too_far.code(), Code::InvalidArgument);
    assert_eq!(count(&channel, Some(key.expose()), 3).await.unwrap(), 3);
    // Two units are left, and a call needs five at the door.
    let refused = count(&channel, Some(key.expose()), 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "QUOTA_EXCEEDED");
    assert_eq!(details.quota_failure().unwrap().violations.len(), 1);
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    let nobody = count(&channel, None, 1).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);

    drop(channel);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(meter.shutdown(Duration::from_secs(10)).await.recorded);
}
