//! Refused requests for a head, over a connection: no body, and the connection goes on.

use std::time::Duration;

use bytes::Bytes;
use hm_metering::RateLimitLayer;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tower::{Layer, service_fn};

use super::{Called, Client, Face, Server, Version, answer};
use crate::stage::{FIVE, Stage};

fn request(method: &Method, version: Version) -> Request<Empty<Bytes>> {
    let uri = match version {
        Version::One => "/whole",
        Version::Two => "http://localhost/whole",
    };
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "localhost");
    request.body(Empty::new()).unwrap()
}

/// Asks for a head that is refused, then for the whole, on one connection.
async fn check(server: &Server, version: Version, status: u16) {
    let mut client = Client::connect(version, server.address).await;
    for _ in 0..2 {
        let head = client.send(request(&Method::HEAD, version)).await.unwrap();
        assert_eq!(head.status(), status, "{version:?}");
        let length: usize = head.headers()["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let frame = head.into_body().frame().await;
        assert!(frame.is_none(), "{version:?}: {frame:?}");
        let whole = client.send(request(&Method::GET, version)).await.unwrap();
        assert_eq!(whole.status(), status, "{version:?}");
        let body = whole.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{") && body.len() == length, "{version:?}");
    }
}

#[tokio::test]
async fn a_refused_head_has_no_body() {
    let stage = Stage::new(FIVE).await;
    for face in [Face::Hyper, Face::Axum, Face::Salvo] {
        let server = Server::start(face, stage.meter.layer("facts"), &Called::default()).await;
        for version in [Version::One, Version::Two] {
            check(&server, version, 401).await;
        }
    }
}

#[tokio::test]
async fn a_head_from_an_address_with_too_many_has_no_body() {
    for version in [Version::One, Version::Two] {
        let inner = service_fn(|request: Request<Incoming>| {
            let answer = answer(request.uri().path(), request.extensions());
            async { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let limited = RateLimitLayer::new(1, Duration::from_secs(3_600));
        let server = Server::serve(limited.layer(inner)).await;
        let mut client = Client::connect(version, server.address).await;
        let first = client.send(request(&Method::GET, version)).await.unwrap();
        first.into_body().collect().await.unwrap();
        check(&server, version, 429).await;
    }
}
