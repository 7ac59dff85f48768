//! Thousands of clients that leave whenever they like.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hm_metering::usage::{Event, Outcome};
use hm_metering::{MeterName, Units};
use http::Request;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::{Layer, ServiceExt};

use super::{Called, Client, Face, Server, Version};
use crate::stage::{FIVE, Stage, handler};

const CLIENTS: u64 = 64;
const REQUESTS: u64 = 10_000;
const SLOTS: usize = 200;
const PATHS: [&str; 6] = ["/whole", "/stream", "/trickles", "/trailers", "/waits", "/breaks"];

/// A random number below `below`; the same ones in each run for the same seed.
fn random(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

/// One client's requests over HTTP/1, each on a connection of its own: it reads so many bytes, and is gone.
async fn over_http_1(server: &Server, key: &str, seed: &mut u64, ids: &AtomicU64) {
    let id = ids.fetch_add(1, Ordering::Relaxed);
    let path = PATHS[random(seed, PATHS.len() as u64) as usize];
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\nx-request-id: {id}\r\n\r\n");
    // Some leave before they have asked.
    let sent = if random(seed, 20) == 0 {
        &request[..random(seed, request.len() as u64) as usize]
    } else {
        &request
    };
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut left = match path {
        "/waits" => 0,
        // The head has more than 300 bytes, and no answer has fewer.
        "/trickles" => random(seed, 300),
        _ => random(seed, 900),
    } as usize;
    if sent.len() < request.len() {
        left = 0;
    }
    let mut buffer = [0; 256];
    while left > 0 {
        let most = left.min(buffer.len());
        // Whole answers are followed by silence, as the connection is kept.
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut buffer[..most]));
        match read.await {
            Ok(Ok(read)) if read > 0 => left -= read,
            _ => return,
        }
    }
    for _ in 0..random(seed, 4) {
        tokio::task::yield_now().await;
    }
}

/// Some requests of one client on one HTTP/2 connection, which breaks in the end, whatever is under way.
async fn over_http_2(server: &Server, key: &str, seed: &mut u64, ids: &AtomicU64) {
    let mut client = Client::connect(Version::Two, server.address).await;
    let mut kept = Vec::new();
    for _ in 0..10 {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let path = PATHS[random(seed, PATHS.len() as u64) as usize];
        let request = Request::get(format!("http://localhost{path}"))
            .header("x-api-key", key)
            .header("x-request-id", id.to_string());
        let mut response = Box::pin(client.send(request.body(Empty::new()).unwrap()));
        let patience = if path == "/waits" {
            random(seed, 4)
        } else {
            1_000_000
        };
        let mut polls = 0;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut response => break answer.ok(),
                () = tokio::task::yield_now() => {}
            }
            polls += 1;
            if polls > patience || random(seed, 40) == 0 {
                break None;
            }
        };
        let Some(answer) = answer else { continue };
        let mut body = answer.into_body();
        for _ in 0..random(seed, if path == "/trickles" { 2 } else { 4 }) {
            let _ = body.frame().await;
        }
        if random(seed, 3) == 0 {
            kept.push(body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_clients_that_leave_at_random_leave_one_event_each() {
    let plans = FIVE
        .replace("limit = 5,", "limit = 1000000,")
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds")
        .replace(
            "[free]",
            &format!("[free]\nconcurrency = [{{ name = \"concurrent\", limit = {SLOTS} }}]"),
        );
    let stage = Arc::new(Stage::new(&plans).await);
    let called = Called::default();
    let server = Arc::new(Server::start(Face::Hyper, stage.meter.layer("facts").cost(2), &called).await);
    let ids = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|number| {
            let (stage, server, ids) = (Arc::clone(&stage), Arc::clone(&server), Arc::clone(&ids));
            tokio::spawn(async move {
                let mut seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while ids.load(Ordering::Relaxed) < REQUESTS {
                    match number % 2 {
                        0 => over_http_1(&server, stage.key.expose(), &mut seed, &ids).await,
                        _ => over_http_2(&server, stage.key.expose(), &mut seed, &ids).await,
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // The server notices each client that left.
    while server.open.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    // The tasks of an HTTP/2 connection's streams end a moment after it.
    slots_are_free(&stage).await;

    let report = stage.meter.shutdown(Duration::from_secs(10)).await;
    assert!(report.recorded && report.released, "{report:?}");
    let (held, events): (Vec<_>, Vec<Event>) = stage
        .events_in_store()
        .await
        .into_iter()
        .partition(|event| event.operation.as_str() == "slots");
    let served: Vec<&str> = events
        .iter()
        .filter(|event| event.outcome != Outcome::Refused)
        .map(|event| event.request_id.as_str())
        .collect();
    let called = called.lock().unwrap().clone();
    let distinct: HashSet<&str> = served.iter().copied().collect();
    assert_eq!(distinct.len(), served.len(), "a request has two events");
    assert_eq!(
        distinct,
        called.iter().map(String::as_str).collect(),
        "those that reached the handler"
    );
    assert!(
        served.len() > REQUESTS as usize / 2,
        "{} reached it",
        served.len()
    );
    for outcome in [Outcome::Completed, Outcome::ClientGone, Outcome::BodyError] {
        assert!(events.iter().any(|event| event.outcome == outcome), "{outcome:?}");
    }
    let charged = |events: &[Event]| {
        events
            .iter()
            .map(|event| event.units_of(&MeterName::REQUESTS).get())
            .sum::<u64>()
    };
    let balance = stage.balance().await;
    assert_eq!(
        (balance.used, balance.leased),
        (Units::new(charged(&events) + charged(&held)), Units::ZERO)
    );
}

/// Waits until as many requests as there are slots can be under way.
async fn slots_are_free(stage: &Stage) {
    let service = stage.meter.layer("slots").layer(handler(|_| {
        std::future::pending::<Result<http::Response<http_body_util::Full<bytes::Bytes>>, _>>()
    }));
    for _ in 0..1_000 {
        let mut held: Vec<_> = (0..SLOTS)
            .map(|_| Box::pin(service.clone().oneshot(stage.request())))
            .collect();
        let waits = tokio::time::timeout(
            Duration::from_millis(100),
            futures_util::future::select_all(held.iter_mut()),
        );
        // None of them is refused.
        if waits.await.is_err() {
            return;
        }
    }
    panic!("slots are lost");
}
