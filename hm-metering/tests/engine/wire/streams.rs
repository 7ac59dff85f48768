//! gRPC streams in both directions, and each way in which they end: one event and one settlement.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use hm_metering::usage::{Event, Outcome};
use hm_metering::{Charge, MeterName, MeteringLayer, Units};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService};
use tonic::service::LayerExt;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{ServiceBuilder, service_fn};

use super::Called;
use super::grpc::{Number, connect, event, over};
use crate::stage::{FIVE, Stage};

const ECHO: &str = "/test.Streams/Echo";
const SUM: &str = "/test.Streams/Sum";

/// What a message makes the service do.
const PANICS: u32 = 1_001;
const FAILS: u32 = 1_002;
const TIMES_OUT: u32 = 1_003;

/// A unit for a number, or what its value says.
fn take(charge: &Charge, value: u32) -> Result<Number, Status> {
    match value {
        PANICS => panic!("a method's mistake"),
        FAILS => Err(Status::internal("it fails")),
        TIMES_OUT => {
            charge.note_timeout();
            Err(Status::deadline_exceeded("it takes too long"))
        }
        value => {
            charge.add(&MeterName::REQUESTS, Units::ONE);
            Ok(Number { value })
        }
    }
}

fn charge_of<T>(request: &Request<T>) -> Charge {
    let charge = request.extensions().get::<Charge>().unwrap().clone();
    charge.set(&MeterName::REQUESTS, Units::ZERO);
    charge
}

/// Adds up what comes.
async fn sum(request: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
    let charge = charge_of(&request);
    let (mut numbers, mut value) = (request.into_inner(), 0);
    while let Some(number) = numbers.message().await? {
        value += take(&charge, number.value)?.value;
    }
    Ok(Response::new(Number { value }))
}

type Numbers = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

/// Sends back what comes.
async fn echo(request: Request<Streaming<Number>>) -> Result<Response<Numbers>, Status> {
    let charge = charge_of(&request);
    let numbers = request
        .into_inner()
        .map(move |number| take(&charge, number?.value));
    Ok(Response::new(Box::pin(numbers)))
}

#[derive(Clone)]
struct Streams {
    called: Called,
}

impl NamedService for Streams {
    const NAME: &'static str = "test.Streams";
}

impl Service<http::Request<Body>> for Streams {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        super::note(&self.called, request.headers());
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(match request.uri().path() {
                ECHO => grpc.streaming(service_fn(echo), request).await,
                _ => grpc.client_streaming(service_fn(sum), request).await,
            })
        })
    }
}

async fn serve(layer: MeteringLayer, called: &Called) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let called = Arc::clone(called);
    let service = ServiceBuilder::new().layer(layer).named_layer(Streams { called });
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    address
}

fn with_key<T>(key: &str, id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-api-key", key.parse().unwrap());
    metadata.insert("x-request-id", id.parse().unwrap());
    request
}

/// These numbers, and after them the end or nothing for ever.
fn sent(values: &[u32], hangs: bool) -> impl Stream<Item = Number> + Send + 'static {
    let numbers: Vec<Number> = values.iter().map(|value| Number { value: *value }).collect();
    let numbers = stream::iter(numbers);
    if hangs {
        numbers.chain(stream::pending()).left_stream()
    } else {
        numbers.right_stream()
    }
}

async fn client(channel: &Channel) -> Client<Channel> {
    let mut client = Client::new(channel.clone());
    client.ready().await.unwrap();
    client
}

fn codec() -> ProstCodec<Number, Number> {
    ProstCodec::default()
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

/// How a call has to look in the ledger.
#[derive(Debug)]
struct End {
    sent: &'static [u32],
    /// Whether the caller leaves with its stream open, once it has what it sent.
    leaves: bool,
    code: Option<Code>,
    outcome: Outcome,
    grpc_status: Option<u8>,
    units: u64,
}

static ENDS: [End; 5] = [
    End {
        sent: &[1, 2, 3],
        leaves: false,
        code: Some(Code::Ok),
        outcome: Outcome::Completed,
        grpc_status: Some(0),
        units: 3,
    },
    End {
        sent: &[1, 2, FAILS, 3],
        leaves: false,
        code: Some(Code::Internal),
        outcome: Outcome::Completed,
        grpc_status: Some(13),
        units: 0,
    },
    End {
        sent: &[1, TIMES_OUT],
        leaves: false,
        code: Some(Code::DeadlineExceeded),
        outcome: Outcome::TimedOut,
        grpc_status: Some(4),
        units: 0,
    },
    // Whatever the client makes of a stream that breaks off.
    End {
        sent: &[1, PANICS],
        leaves: false,
        code: None,
        outcome: Outcome::Panicked,
        grpc_status: None,
        units: 0,
    },
    End {
        sent: &[1, 2],
        leaves: true,
        code: None,
        outcome: Outcome::ClientGone,
        grpc_status: None,
        units: 2,
    },
];

async fn check(stage: &Stage, number: usize, end: &End, kind: &str) {
    let event = event(stage, number).await;
    let what = format!("{kind}: {end:?}");
    assert_eq!(
        (event.outcome, event.grpc_status),
        (end.outcome, end.grpc_status),
        "{what}"
    );
    assert_eq!(
        event.units_of(&MeterName::REQUESTS),
        Units::new(end.units),
        "{what}"
    );
}

/// Calls [`echo`], and answers how that ended for the caller; none when it left.
async fn call_echo(address: SocketAddr, key: &str, end: &End) -> Option<Code> {
    let channel = connect(address).await;
    let request = with_key(key, "echo", sent(end.sent, end.leaves));
    let mut client = client(&channel).await;
    let answer = client.streaming(request, path(ECHO), codec()).await;
    let (mut numbers, mut came) = (answer.unwrap().into_inner(), 0);
    while !(end.leaves && came == end.sent.len()) {
        match numbers.message().await {
            Ok(Some(_)) => came += 1,
            Ok(None) => return Some(Code::Ok),
            Err(status) => return Some(status.code()),
        }
    }
    None
}

/// The same on a runtime of its own, which ends with it: so does the connection, whatever is still to be sent on it.
async fn call_echo_and_leave(address: SocketAddr, key: &str, end: &'static End) -> Option<Code> {
    let key = key.to_owned();
    let call = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(call_echo(address, &key, end))
    };
    tokio::task::spawn_blocking(call).await.unwrap()
}

#[tokio::test]
async fn streams_in_both_directions_end_once_however_they_end() {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 1000,")).await;
    let address = serve(stage.meter.layer("echo"), &Called::default()).await;
    for (number, end) in ENDS.iter().enumerate() {
        let code = call_echo_and_leave(address, stage.key.expose(), end).await;
        assert!(end.code.is_none() || code == end.code, "{end:?}: {code:?}");
        assert_ne!(
            (end.outcome, code),
            (Outcome::Panicked, Some(Code::Ok)),
            "{end:?}"
        );
        check(&stage, number + 1, end, "both directions").await;
    }
    over(&stage).await;
}

#[tokio::test]
async fn streams_of_clients_end_once_however_they_end() {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 1000,")).await;
    let called = Called::default();
    let address = serve(stage.meter.layer("sum"), &called).await;
    for (number, end) in ENDS.iter().enumerate() {
        let channel = connect(address).await;
        let request = with_key(stage.key.expose(), "sum", sent(end.sent, end.leaves));
        let mut client = client(&channel).await;
        let mut answer = Box::pin(client.client_streaming(request, path(SUM), codec()));
        if end.leaves {
            // It leaves once the method has been called; what came by then is charged.
            while called.lock().unwrap().len() <= number {
                tokio::select! {
                    biased;
                    answer = &mut answer => panic!("{answer:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
            drop(answer);
            let event = event(&stage, number + 1).await;
            assert_eq!((event.outcome, event.grpc_status), (Outcome::ClientGone, None));
            assert!(event.units_of(&MeterName::REQUESTS) <= Units::new(end.units));
            continue;
        }
        let code = answer.await.map_or_else(|status| status.code(), |_| Code::Ok);
        assert!(
            end.code.is_none_or(|expected| code == expected),
            "{end:?}: {code:?}"
        );
        assert_ne!((end.outcome, code), (Outcome::Panicked, Code::Ok), "{end:?}");
        check(&stage, number + 1, end, "of a client").await;
    }
    over(&stage).await;
}

/// A random number below `below`; the same ones in each run for the same seed.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

const CALLERS: u64 = 16;
const CALLS: u64 = 2_000;

/// Some calls on one connection, which breaks in the end, whatever is under way. Each is left after some messages.
async fn calls(address: SocketAddr, key: &str, seed: &mut u64, ids: &AtomicU64) {
    let channel = connect(address).await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let id = ids.fetch_add(1, Ordering::Relaxed).to_string();
        let (sender, receiver) = mpsc::channel(4);
        let messages = stream::unfold(receiver, |mut numbers: mpsc::Receiver<Number>| async {
            Some((numbers.recv().await?, numbers))
        });
        let mut client = client(&channel).await;
        let call = client.streaming(with_key(key, &id, messages), path(ECHO), codec());
        if random(seed, 10) == 0 {
            // It leaves before there is an answer.
            let _ = tokio::time::timeout(Duration::ZERO, call).await;
            continue;
        }
        let Ok(answer) = call.await else { continue };
        let mut numbers = answer.into_inner();
        for value in 0..random(seed, 6) {
            let value = match random(seed, 30) {
                0 => FAILS,
                1 => PANICS,
                _ => u32::try_from(value).unwrap(),
            };
            if sender.send(Number { value }).await.is_err() || !matches!(numbers.message().await, Ok(Some(_)))
            {
                break;
            }
        }
        match random(seed, 3) {
            // It ends in good order.
            0 => {
                drop(sender);
                while let Ok(Some(_)) = numbers.message().await {}
            }
            1 => kept.push((sender, numbers)),
            _ => {}
        }
    }
}

/// The events of all calls that reached the service, once they are there.
async fn events_of_all(stage: &Stage, called: &Mutex<Vec<String>>) -> Vec<Event> {
    let all = async {
        loop {
            let events = stage.events().await;
            if events.len() >= called.lock().unwrap().len() {
                return events;
            }
            tokio::task::yield_now().await;
        }
    };
    let all = tokio::time::timeout(Duration::from_secs(30), all).await;
    all.expect("an event is missing")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_streams_that_are_left_at_random_leave_one_event_each() {
    let plans = FIVE
        .replace("limit = 5,", "limit = 1000000,")
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds");
    let stage = Arc::new(Stage::new(&plans).await);
    let called = Called::default();
    let address = serve(stage.meter.layer("echo"), &called).await;
    let ids = Arc::new(AtomicU64::new(0));
    let callers: Vec<_> = (1..=CALLERS)
        .map(|number| {
            let (stage, ids) = (Arc::clone(&stage), Arc::clone(&ids));
            tokio::spawn(async move {
                let mut seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while ids.load(Ordering::Relaxed) < CALLS {
                    calls(address, stage.key.expose(), &mut seed, &ids).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let events = events_of_all(&stage, &called).await;
    let called = called.lock().unwrap().clone();
    let distinct: HashSet<&str> = events.iter().map(|event| event.request_id.as_str()).collect();
    assert_eq!(distinct.len(), events.len(), "a call has two events");
    assert_eq!(
        distinct,
        called.iter().map(String::as_str).collect(),
        "those that reached the service"
    );
    assert!(events.len() as u64 > CALLS / 2, "{} reached it", events.len());
    for outcome in [Outcome::Completed, Outcome::ClientGone, Outcome::Panicked] {
        assert!(events.iter().any(|event| event.outcome == outcome), "{outcome:?}");
    }
    over(&stage).await;
}
