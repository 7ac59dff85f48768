//! Each way in which a request can end: one event, one settlement, the right charge.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use hm_metering::usage::{Event, Outcome};
use hm_metering::{Admit, Call, Charge, MeterName, Operation, OperationName, ReplicaId, Units};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tower::{Layer, Service, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

type FrameResult = Result<Frame<Bytes>, std::io::Error>;

fn streamed(frames: Vec<FrameResult>) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
    StreamBody::new(futures_util::stream::iter(frames))
}

fn data(text: &'static str) -> FrameResult {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// Checks the event, that exactly its units are used, and that nothing of the rest is lost.
async fn ended(stage: &Stage, outcome: Outcome, status: u16, charged: u64) -> Event {
    let event = stage.event().await;
    assert_eq!((event.outcome, event.status), (outcome, status));
    assert_eq!(event.units_of(&MeterName::REQUESTS), Units::new(charged));
    assert_eq!(stage.balance().await.used, Units::new(charged));
    let mut service = stage.meter.layer("facts").layer(handler(facts));
    for left in (0..5 - charged).rev() {
        let response = service
            .ready()
            .await
            .unwrap()
            .call(stage.request())
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-ratelimit-remaining"], left.to_string());
    }
    let response = service
        .ready()
        .await
        .unwrap()
        .call(stage.request())
        .await
        .unwrap();
    assert_eq!(response.status(), 429);
    event
}

#[tokio::test]
async fn a_whole_body_ends_with_its_last_frame_without_another_poll() {
    let stage = Stage::new(FIVE).await;
    let response = stage
        .meter
        .layer("facts")
        .layer(handler(facts))
        .oneshot(stage.request())
        .await
        .unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    // The body is still there and was not polled to its end.
    let event = ended(&stage, Outcome::Completed, 200, 1).await;
    assert_eq!(
        (event.endpoint.as_str(), event.method.as_str()),
        ("/facts", "POST")
    );
    assert_eq!(event.key, Some(stage.key_id));
    drop(body);
    assert_eq!(
        stage.events().await.len(),
        1 + 4 + 1,
        "a second ending changes nothing"
    );
}

#[tokio::test]
async fn an_empty_body_ends_at_once() {
    let stage = Stage::new(FIVE).await;
    let empty = handler(|_| async {
        Ok(Response::builder()
            .status(204)
            .body(Empty::<Bytes>::new())
            .unwrap())
    });
    let response = stage
        .meter
        .layer("facts")
        .layer(empty)
        .oneshot(stage.request())
        .await
        .unwrap();
    assert!(response.body().is_end_stream());
    ended(&stage, Outcome::Completed, 204, 1).await;
}

#[tokio::test]
async fn a_stream_ends_when_there_are_no_more_frames() {
    let stage = Stage::new(FIVE).await;
    let stream = handler(|_| async { Ok(Response::new(streamed(vec![data("a"), data("b")]))) });
    let response = stage
        .meter
        .layer("facts")
        .layer(stream)
        .oneshot(stage.request())
        .await
        .unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ab");
    ended(&stage, Outcome::Completed, 200, 1).await;
}

#[tokio::test]
async fn the_answer_to_head_ends_with_its_head() {
    let stage = Stage::new(FIVE).await;
    let mut request = stage.request();
    *request.method_mut() = http::Method::HEAD;
    let response = stage
        .meter
        .layer("facts")
        .layer(handler(facts))
        .oneshot(request)
        .await
        .unwrap();
    // The server does not read the body of an answer to HEAD.
    drop(response);
    ended(&stage, Outcome::Completed, 200, 1).await;
}

/// A body that knows its length and not its end.
struct OfLength(Vec<&'static str>, u64);

impl Body for OfLength {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<FrameResult>> {
        Poll::Ready(self.0.pop().map(data))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.1)
    }
}

#[tokio::test]
async fn a_body_of_announced_length_ends_with_its_last_byte() {
    let stage = Stage::new(FIVE).await;
    let download = handler(|_| async { Ok(Response::new(OfLength(vec!["cd", "ab"], 4))) });
    let response = stage
        .meter
        .layer("facts")
        .layer(download)
        .oneshot(stage.request())
        .await
        .unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(stage.events().await.is_empty());
    body.frame().await.unwrap().unwrap();
    drop(body);
    ended(&stage, Outcome::Completed, 200, 1).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_trailers() {
    let stage = Stage::new(FIVE).await;
    let stream = handler(|_| async {
        Ok(Response::new(streamed(vec![
            data("a"),
            Ok(Frame::trailers(HeaderMap::new())),
        ])))
    });
    let response = stage
        .meter
        .layer("facts")
        .layer(stream)
        .oneshot(stage.request())
        .await
        .unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    ended(&stage, Outcome::Completed, 200, 1).await;
    drop(body);
}

#[tokio::test]
async fn a_body_that_fails_is_not_charged() {
    let stage = Stage::new(FIVE).await;
    let broken = handler(|_| async {
        Ok(Response::new(streamed(vec![
            data("a"),
            Err(std::io::Error::other("broken")),
        ])))
    });
    let response = stage
        .meter
        .layer("facts")
        .layer(broken)
        .oneshot(stage.request())
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
    ended(&stage, Outcome::BodyError, 200, 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_body_is_charged() {
    let stage = Stage::new(FIVE).await;
    let stream = handler(|_| async { Ok(Response::new(streamed(vec![data("a"), data("b")]))) });
    let response = stage
        .meter
        .layer("facts")
        .layer(stream)
        .oneshot(stage.request())
        .await
        .unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    ended(&stage, Outcome::ClientGone, 200, 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_the_handler_works_is_charged() {
    let stage = Stage::new(FIVE).await;
    let slow = handler(|_| std::future::pending::<Result<Response<Full<Bytes>>, std::io::Error>>());
    let mut service = stage.meter.layer("facts").layer(slow);
    // The first request fills what is cold; the second is at its handler when it is called.
    let mut cold = Box::pin(service.ready().await.unwrap().call(stage.request()));
    while service.get_ref().calls.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        assert!((&mut cold).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    drop(cold);
    ended(&stage, Outcome::ClientGone, 499, 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_key_is_looked_up_costs_nothing() {
    let stage = Stage::new(FIVE).await;
    let never = handler(facts);
    let mut service = stage.meter.layer("facts").layer(never);
    let cold = service.ready().await.unwrap().call(stage.request());
    drop(cold);
    assert!(stage.events().await.is_empty());
    assert_eq!(
        service.get_ref().calls.load(std::sync::atomic::Ordering::Relaxed),
        0
    );
    service
        .ready()
        .await
        .unwrap()
        .call(stage.request())
        .await
        .unwrap();
    assert_eq!(stage.events().await.len(), 1);
}

#[tokio::test]
async fn a_service_that_fails_is_not_charged() {
    let stage = Stage::new(FIVE).await;
    let failing = handler(|_| async { Err::<Response<Full<Bytes>>, _>(std::io::Error::other("no")) });
    let error = stage
        .meter
        .layer("facts")
        .layer(failing)
        .oneshot(stage.request())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no");
    ended(&stage, Outcome::ServiceError, 500, 0).await;
}

#[tokio::test]
async fn an_answer_of_500_is_recorded_and_not_charged() {
    let stage = Stage::new(FIVE).await;
    let broken = handler(|_| async {
        Ok(Response::builder()
            .status(StatusCode::BAD_GATEWAY)
            .body(Full::<Bytes>::from("no"))
            .unwrap())
    });
    let response = stage
        .meter
        .layer("facts")
        .layer(broken)
        .oneshot(stage.request())
        .await
        .unwrap();
    response.into_body().collect().await.unwrap();
    ended(&stage, Outcome::Completed, 502, 0).await;
}

#[tokio::test]
async fn a_handler_that_panics_is_recorded_and_not_charged() {
    let stage = Stage::new(FIVE).await;
    let panicking = handler(|request: Request<Full<Bytes>>| async move {
        assert!(request.headers().is_empty(), "a handler's mistake");
        facts(request).await
    });
    let served = tokio::spawn(
        stage
            .meter
            .layer("facts")
            .layer(panicking)
            .oneshot(stage.request()),
    );
    assert!(served.await.unwrap_err().is_panic());
    ended(&stage, Outcome::Panicked, 500, 0).await;
}

/// Panics when it is called, before there is a future.
#[derive(Clone)]
struct PanicsAtOnce;

impl Service<Request<Full<Bytes>>> for PanicsAtOnce {
    type Response = Response<Full<Bytes>>;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(request.headers().is_empty(), "a service's mistake");
        std::future::ready(Ok(Response::new(Full::default())))
    }
}

#[tokio::test]
async fn a_service_that_panics_in_its_call_is_recorded_and_not_charged() {
    let stage = Stage::new(FIVE).await;
    let served = tokio::spawn(
        stage
            .meter
            .layer("facts")
            .layer(PanicsAtOnce)
            .oneshot(stage.request()),
    );
    assert!(served.await.unwrap_err().is_panic());
    ended(&stage, Outcome::Panicked, 500, 0).await;
}

/// Panics when it is polled.
struct PanickingBody;

impl Body for PanickingBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<FrameResult>> {
        assert!(cx.waker().will_wake(std::task::Waker::noop()), "a body's mistake");
        Poll::Ready(None)
    }
}

#[tokio::test]
async fn a_body_that_panics_is_recorded_and_not_charged() {
    let stage = Stage::new(FIVE).await;
    let panicking = handler(|_| async { Ok(Response::new(PanickingBody)) });
    let response = stage
        .meter
        .layer("facts")
        .layer(panicking)
        .oneshot(stage.request())
        .await
        .unwrap();
    let read = tokio::spawn(response.into_body().collect());
    assert!(read.await.err().unwrap().is_panic());
    ended(&stage, Outcome::Panicked, 200, 0).await;
}

#[tokio::test]
async fn a_handler_says_what_the_request_really_took() {
    let stage = Stage::new(FIVE).await;
    let counting = handler(|request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap();
        charge.set(&MeterName::REQUESTS, Units::new(3));
        charge.add(&MeterName::from_static("tokens"), Units::new(40));
        charge.add(&MeterName::from_static("tokens"), Units::new(2));
        charge.set_source("wiki");
        charge.tag("model", "small");
        charge.tag("language", "日本語");
        facts(request).await
    });
    let response = stage
        .meter
        .layer("facts")
        .layer(counting)
        .oneshot(stage.request())
        .await
        .unwrap();
    response.into_body().collect().await.unwrap();
    let event = ended(&stage, Outcome::Completed, 200, 3).await;
    assert_eq!(event.units_of(&MeterName::from_static("tokens")), Units::new(42));
    assert_eq!(event.source.as_deref(), Some("wiki"));
    let tags = [("language", "日本語"), ("model", "small")];
    assert_eq!(
        event.tags,
        tags.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn a_request_that_is_dropped_before_its_handler_was_called_costs_nothing() {
    let stage = Stage::new(FIVE).await;
    let request = stage.request();
    let call = Call::new(request.method(), request.headers(), "/facts");
    let operation = Arc::new(Operation::new(OperationName::from_static("facts")));
    let admission = match stage.meter.admit(&operation, call) {
        Admit::Ready(decision) => decision,
        Admit::Pending(decision) => decision.await,
    };
    drop(admission.unwrap());
    let event = ended(&stage, Outcome::NotReached, 503, 0).await;
    assert_eq!((event.bytes_out, event.first_byte_us), (0, None));
}

#[tokio::test]
async fn an_event_says_how_much_came_and_when_the_answer_began_and_ended() {
    let millis = Duration::from_millis;
    let stage = Stage::new(FIVE).await;
    let clock = stage.clock.clone();
    let slow = handler(move |_| {
        let clock = clock.clone();
        async move {
            clock.advance(millis(30));
            let frames = futures_util::stream::iter([(20, "fac"), (25, "ts"), (5, "")]);
            Ok(Response::new(StreamBody::new(frames.map(move |(took, text)| {
                clock.advance(millis(took));
                data(text)
            }))))
        }
    });
    let mut request = stage.request();
    request
        .headers_mut()
        .insert("content-length", "1234".parse().unwrap());
    let response = stage
        .meter
        .layer("facts")
        .layer(slow)
        .oneshot(request)
        .await
        .unwrap();
    response.into_body().collect().await.unwrap();
    let event = ended(&stage, Outcome::Completed, 200, 1).await;
    assert_eq!((event.bytes_in, event.bytes_out), (1_234, 5));
    assert_eq!(
        (event.first_byte_us, event.response_time_us),
        (Some(50_000), 80_000)
    );
}

#[tokio::test]
async fn an_event_names_the_replica_that_served_it() {
    let replica = ReplicaId::from_uuid(uuid::Uuid::from_u128(7));
    let stage = Stage::with(FIVE, Vec::new(), |meter| meter.replica(replica)).await;
    for _ in 0..6 {
        let service = stage.meter.layer("facts").layer(handler(facts));
        let response = service.oneshot(stage.request()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    let events = stage.events().await;
    assert_eq!(events.len(), 6);
    assert_eq!(events[5].outcome, Outcome::Refused);
    for event in events {
        assert_eq!(event.replica, replica);
    }
}

#[tokio::test]
async fn a_handler_may_charge_nothing() {
    let stage = Stage::new(FIVE).await;
    let free = handler(|request: Request<Full<Bytes>>| async move {
        request
            .extensions()
            .get::<Charge>()
            .unwrap()
            .set(&MeterName::REQUESTS, Units::ZERO);
        facts(request).await
    });
    let response = stage
        .meter
        .layer("facts")
        .layer(free)
        .oneshot(stage.request())
        .await
        .unwrap();
    response.into_body().collect().await.unwrap();
    ended(&stage, Outcome::Completed, 200, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_clients_that_leave_at_random_leave_one_event_each() {
    let plans = FIVE
        .replace("limit = 5", "limit = 100000")
        .replace("limit = 1000,", "limit = 100000,");
    let stage = Stage::new(&plans).await;
    let stream = handler(|_| async {
        tokio::task::yield_now().await;
        Ok(Response::new(streamed(vec![data("a"), data("b"), data("c")])))
    });
    let service = stage.meter.layer("facts").layer(stream);
    service
        .clone()
        .oneshot(stage.request())
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    let tasks: Vec<_> = (0..5_000_u32)
        .map(|number| {
            let (service, request) = (service.clone(), stage.request());
            tokio::spawn(async move {
                // How far this client gets: not to its handler, to the head, to some frames, to the end.
                let mut response = Box::pin(service.oneshot(request));
                for _ in 0..number % 3 {
                    if (&mut response).now_or_never().is_some() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
                if number % 5 == 0 {
                    return;
                }
                let mut body = response.await.unwrap().into_body();
                for _ in 0..number % 7 {
                    let _ = body.frame().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let calls = service.get_ref().calls.load(std::sync::atomic::Ordering::Relaxed) as u64;
    assert!(stage.meter.flush(std::time::Duration::from_secs(10)).await);
    let query = hm_metering::usage::UsageQuery::new(
        stage.account,
        hm_metering::Timestamp::MIN,
        hm_metering::Timestamp::MAX,
    );
    let totals = hm_metering::UsageStore::totals(&stage.store, &query)
        .await
        .unwrap();
    assert_eq!((totals.requests, totals.refused), (calls, 0));
    assert_eq!(totals.units[&MeterName::REQUESTS], Units::new(calls));
    assert_eq!(stage.balance().await.used, Units::new(calls));
    stage.meter.shutdown(std::time::Duration::from_secs(10)).await;
    let balance = stage.balance().await;
    assert_eq!(
        (balance.used, balance.leased),
        (Units::new(calls), Units::ZERO),
        "nothing is stranded"
    );
}
