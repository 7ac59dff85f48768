//! Each way in which a response can end, over a connection: one event and one settlement.

use std::time::Duration;

use hm_metering::usage::{Event, Outcome};
use hm_metering::{MeterName, Units};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};

use super::{Called, Client, Face, Server, Version};
use crate::stage::{FIVE, Stage};

/// What a client does with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    All,
    /// It leaves as soon as the handler has been called.
    Nothing,
    /// It leaves after the first frame.
    First,
}

struct End {
    method: Method,
    path: &'static str,
    reads: Reads,
    outcome: Outcome,
    status: u16,
    bytes_out: u64,
    units: u64,
}

fn end(path: &'static str, reads: Reads, outcome: Outcome, status: u16, bytes_out: u64, units: u64) -> End {
    let method = Method::GET;
    End {
        method,
        path,
        reads,
        outcome,
        status,
        bytes_out,
        units,
    }
}

fn ends(face: Face) -> Vec<End> {
    use Outcome::{BodyError, ClientGone, Completed, Panicked, ServiceError, TimedOut};
    use Reads::{All, First, Nothing};
    let mut ends = vec![
        end("/whole", All, Completed, 200, 5, 1),
        end("/chunks", All, Completed, 200, 5, 1),
        End {
            method: Method::HEAD,
            ..end("/whole", All, Completed, 200, 0, 1)
        },
        End {
            method: Method::HEAD,
            ..end("/stream", All, Completed, 200, 0, 1)
        },
        end("/empty", All, Completed, 204, 0, 1),
        end("/not-modified", All, Completed, 304, 0, 1),
        end("/wrong", All, Completed, 500, 5, 0),
        end("/stream", All, Completed, 200, 5, 1),
        end("/announced", All, Completed, 200, 5, 1),
        end("/trailers", All, Completed, 200, 5, 1),
        end("/breaks", All, BodyError, 200, 5, 0),
        end("/panics", All, Panicked, 500, 0, 0),
        end("/panics-in-body", All, Panicked, 200, 0, 0),
        end("/waits", Nothing, ClientGone, 499, 0, 1),
        end("/trickles", First, ClientGone, 200, 5, 1),
        end("/times-out", All, TimedOut, 503, 4, 0),
        end("/times-out-in-body", All, TimedOut, 200, 5, 0),
        end("/late", All, Completed, 408, 4, 1),
    ];
    // The services of the others can't fail.
    if face == Face::Hyper {
        ends.push(end("/fails", All, ServiceError, 500, 0, 0));
        ends.push(end("/whole", All, Completed, 200, 5, 1));
    }
    ends
}

/// Sends the request of an end, and leaves when the end says so.
async fn go(stage: &Stage, server: &Server, called: &Called, version: Version, end: &End) {
    let mut client = Client::connect(version, server.address).await;
    let uri = match version {
        Version::One => end.path.to_owned(),
        Version::Two => format!("http://localhost{}", end.path),
    };
    let request = Request::builder()
        .method(end.method.clone())
        .uri(uri)
        .header("host", "localhost")
        .header("x-api-key", stage.key.expose())
        .header("te", "trailers");
    let request = request.body(Empty::new()).unwrap();
    let before = called.lock().unwrap().len();
    if end.reads == Reads::Nothing {
        let mut response = Box::pin(client.send(request));
        while called.lock().unwrap().len() == before {
            tokio::select! {
                _ = &mut response => panic!("{} answers", end.path),
                () = tokio::task::yield_now() => {}
            }
        }
        return;
    }
    let Ok(response) = client.send(request).await else {
        return;
    };
    let announced = response
        .headers()
        .get("content-length")
        .map(|length| length.to_str().unwrap().parse());
    let (mut body, mut got) = (response.into_body(), 0);
    while let Some(Ok(frame)) = body.frame().await {
        got += frame.data_ref().map_or(0, bytes::Bytes::len);
        // A response whose length was announced is over for the client, though the handler's stream may not be.
        if end.reads == Reads::First || announced == Some(Ok(got)) {
            return;
        }
    }
}

/// The events of `stage`, once there are this many.
async fn events(stage: &Stage, count: usize) -> Vec<Event> {
    for _ in 0..10_000 {
        let events = stage.events().await;
        if events.len() >= count {
            return events;
        }
        tokio::task::yield_now().await;
    }
    panic!("the event did not come");
}

async fn all_ends(face: Face, version: Version) {
    let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 1000,")).await;
    let called = Called::default();
    let server = Server::start(face, stage.meter.layer("facts"), &called).await;
    let mut charged = 0;
    for (number, end) in ends(face).iter().enumerate() {
        let what = format!(
            "{face:?}, {version:?}: {} {}, {:?}",
            end.method, end.path, end.reads
        );
        let gone = go(&stage, &server, &called, version, end);
        assert!(
            tokio::time::timeout(Duration::from_secs(10), gone).await.is_ok(),
            "{what}: it hangs"
        );
        let events = events(&stage, number + 1).await;
        assert_eq!(events.len(), number + 1, "{what}");
        let event = &events[number];
        assert_eq!((event.outcome, event.status), (end.outcome, end.status), "{what}");
        assert_eq!(event.bytes_out, end.bytes_out, "{what}");
        assert_eq!(event.first_byte_us.is_some(), end.bytes_out > 0, "{what}");
        assert_eq!(event.grpc_status, None, "{what}");
        assert_eq!(
            event.units_of(&MeterName::REQUESTS),
            Units::new(end.units),
            "{what}"
        );
        charged += end.units;
        assert_eq!(stage.balance().await.used, Units::new(charged), "{what}");
    }
    let report = stage.meter.shutdown(Duration::from_secs(5)).await;
    assert!(report.recorded && report.released, "{report:?}");
    let balance = stage.balance().await;
    assert_eq!((balance.used, balance.leased), (Units::new(charged), Units::ZERO));
    assert_eq!(
        stage.events_in_store().await.len(),
        ends(face).len(),
        "nothing was counted twice"
    );
}

#[tokio::test]
async fn on_hyper_over_http_1() {
    all_ends(Face::Hyper, Version::One).await;
}

#[tokio::test]
async fn on_hyper_over_http_2() {
    all_ends(Face::Hyper, Version::Two).await;
}

#[tokio::test]
async fn on_axum_over_http_1() {
    all_ends(Face::Axum, Version::One).await;
}

#[tokio::test]
async fn on_axum_over_http_2() {
    all_ends(Face::Axum, Version::Two).await;
}

#[tokio::test]
async fn on_salvo_over_http_1() {
    all_ends(Face::Salvo, Version::One).await;
}

#[tokio::test]
async fn on_salvo_over_http_2() {
    all_ends(Face::Salvo, Version::Two).await;
}

#[tokio::test]
async fn a_response_that_becomes_another_protocol_ends_with_its_head() {
    let stage = Stage::new(FIVE).await;
    let server = Server::start(Face::Hyper, stage.meter.layer("facts"), &Called::default()).await;
    let mut client = Client::connect(Version::One, server.address).await;
    let request = Request::get("/upgrades")
        .header("host", "localhost")
        .header("x-api-key", stage.key.expose())
        .header("connection", "upgrade")
        .header("upgrade", "other");
    let response = client.send(request.body(Empty::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 101);
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let event = stage.event().await;
    assert_eq!((event.outcome, event.status), (Outcome::Completed, 101));
    assert_eq!(event.units_of(&MeterName::REQUESTS), Units::ONE);
    drop(upgraded);
    assert_eq!(stage.events().await.len(), 1);
}
