//! gRPC calls, with a server and a client of tonic.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use hm_metering::usage::{Event, Outcome};
use hm_metering::{Charge, MeterName, MeteringLayer, Overrun, Units};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::service::LayerExt;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{ServiceBuilder, service_fn};

use crate::stage::{FIVE, Stage};

/// The number of a message, in questions how many are asked for.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Number {
    #[prost(uint32, tag = "1")]
    pub(super) value: u32,
}

type Numbers = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

/// So many numbers, a unit each; none is an error at once, a hundred or more an error after five.
async fn count(request: Request<Number>) -> Result<Response<Numbers>, Status> {
    let charge = request.extensions().get::<Charge>().unwrap().clone();
    charge.set(&MeterName::REQUESTS, Units::ZERO);
    let last = request.into_inner().value;
    if last == 0 {
        return Err(Status::unavailable("nothing to count"));
    }
    let numbers = stream::iter(1..=last).then(move |value| {
        charge.add(&MeterName::REQUESTS, Units::ONE);
        async move {
            tokio::task::yield_now().await;
            if last >= 100 && value > 5 {
                Err(Status::internal("too many"))
            } else {
                Ok(Number { value })
            }
        }
    });
    // A stream for a caller that leaves.
    if last == 99 {
        return Ok(Response::new(Box::pin(numbers.take(3).chain(stream::pending()))));
    }
    Ok(Response::new(Box::pin(numbers)))
}

async fn double(request: Request<Number>) -> Result<Response<Number>, Status> {
    match request.into_inner().value {
        0 => Err(Status::invalid_argument("nothing to double")),
        value => Ok(Response::new(Number { value: value * 2 })),
    }
}

#[derive(Clone)]
struct Counting;

impl NamedService for Counting {
    const NAME: &'static str = "test.Counting";
}

impl Service<http::Request<Body>> for Counting {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(match request.uri().path() {
                "/test.Counting/Count" => grpc.server_streaming(service_fn(count), request).await,
                _ => grpc.unary(service_fn(double), request).await,
            })
        })
    }
}

async fn serve(layer: MeteringLayer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = ServiceBuilder::new().layer(layer).named_layer(Counting);
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

pub(super) async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn request(stage: &Stage, value: u32) -> Request<Number> {
    let mut request = Request::new(Number { value });
    request
        .metadata_mut()
        .insert("x-api-key", stage.key.expose().parse().unwrap());
    request
}

async fn counted(channel: &Channel, stage: &Stage, last: u32) -> Result<Streaming<Number>, Status> {
    let mut client = Client::new(channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/test.Counting/Count");
    let codec = ProstCodec::<Number, Number>::default();
    Ok(client
        .server_streaming(request(stage, last), path, codec)
        .await?
        .into_inner())
}

/// How many numbers came, and how the stream ended.
async fn read(mut numbers: Streaming<Number>) -> (u64, Result<(), Status>) {
    let mut came = 0;
    loop {
        match numbers.message().await {
            Ok(Some(_)) => came += 1,
            Ok(None) => return (came, Ok(())),
            Err(status) => return (came, Err(status)),
        }
    }
}

/// The latest of this many events.
pub(super) async fn event(stage: &Stage, count: usize) -> Event {
    for _ in 0..10_000 {
        let events = stage.events().await;
        if events.len() == count {
            return events.into_iter().next_back().unwrap();
        }
        tokio::task::yield_now().await;
    }
    panic!("the event did not come");
}

pub(super) async fn over(stage: &Stage) {
    assert!(stage.meter.shutdown(Duration::from_secs(5)).await.released);
    let charged = stage
        .events_in_store()
        .await
        .iter()
        .map(|event| event.units_of(&MeterName::REQUESTS).get())
        .sum();
    let balance = stage.balance().await;
    assert_eq!((balance.used, balance.leased), (Units::new(charged), Units::ZERO));
}

#[tokio::test]
async fn calls_end_with_their_status_however_they_end() {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 1000,")).await;
    let channel = connect(serve(stage.meter.layer("counting")).await).await;

    let (came, end) = read(counted(&channel, &stage, 7).await.unwrap()).await;
    assert!(end.is_ok() && came == 7);
    let seen = event(&stage, 1).await;
    assert_eq!(
        (seen.outcome, seen.status, seen.grpc_status),
        (Outcome::Completed, 200, Some(0))
    );
    assert_eq!(seen.units_of(&MeterName::REQUESTS), Units::new(7));
    assert!(seen.bytes_out >= 7 * 5 && seen.first_byte_us.is_some());
    assert_eq!(seen.endpoint, "/test.Counting/Count");

    // Trailers only.
    let refused = counted(&channel, &stage, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let seen = event(&stage, 2).await;
    assert_eq!(
        (seen.outcome, seen.status, seen.grpc_status),
        (Outcome::Completed, 200, Some(14))
    );
    assert_eq!(
        (seen.units.len(), seen.bytes_out, seen.first_byte_us),
        (0, 0, None)
    );

    // An error in the middle blames the server, and costs nothing.
    let (came, end) = read(counted(&channel, &stage, 100).await.unwrap()).await;
    assert_eq!((came, end.unwrap_err().code()), (5, Code::Internal));
    let seen = event(&stage, 3).await;
    assert_eq!((seen.outcome, seen.grpc_status), (Outcome::Completed, Some(13)));
    assert!(seen.units.is_empty());

    // A caller that cancels pays for what it got.
    let mut numbers = counted(&channel, &stage, 99).await.unwrap();
    for _ in 0..3 {
        numbers.message().await.unwrap().unwrap();
    }
    drop(numbers);
    let seen = event(&stage, 4).await;
    assert_eq!((seen.outcome, seen.grpc_status), (Outcome::ClientGone, None));
    assert_eq!(seen.units_of(&MeterName::REQUESTS), Units::new(3));

    for (value, code, number, grpc) in [(4, Code::Ok, 5, Some(0)), (0, Code::InvalidArgument, 6, Some(3))] {
        let mut client = Client::new(channel.clone());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/test.Counting/Double");
        let codec = ProstCodec::<Number, Number>::default();
        let answer = client.unary(request(&stage, value), path, codec).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code);
        let seen = event(&stage, number).await;
        assert_eq!((seen.outcome, seen.grpc_status), (Outcome::Completed, grpc));
        assert_eq!(seen.units_of(&MeterName::REQUESTS), Units::ONE);
    }
    over(&stage).await;
}

#[tokio::test]
async fn a_stream_that_takes_too_much_ends_with_resource_exhausted() {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 20,")).await;
    let layer = stage.meter.layer("counting").overrun(Overrun::Reject);
    let channel = connect(serve(layer).await).await;
    let (came, end) = read(counted(&channel, &stage, 90).await.unwrap()).await;
    assert_eq!(end.unwrap_err().code(), Code::ResourceExhausted);
    let seen = event(&stage, 1).await;
    assert_eq!(
        (seen.outcome, seen.status, seen.grpc_status),
        (Outcome::Stopped, 200, Some(8))
    );
    let charged = seen.units_of(&MeterName::REQUESTS).get();
    // How far it got depends on how soon more was leased; never is more charged than there was.
    assert!(
        (1..=20).contains(&charged) && came < 90,
        "{came} came, {charged} were charged"
    );
    over(&stage).await;
}
