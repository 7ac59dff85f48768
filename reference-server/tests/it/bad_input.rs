//! Requests that can't be served are refused clearly, and nothing is half done.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use salvo::http::ReqBody;
use salvo::http::body::Frame;
use serde_json::json;

use crate::harness::{PASSWORD, Server};

const JSON: &str = "application/json";

/// A body whose length is not announced.
fn chunked(parts: Vec<std::io::Result<Vec<u8>>>) -> ReqBody {
    let frames = parts.into_iter().map(|part| {
        part.map(|bytes| Frame::data(Bytes::from(bytes)))
            .map_err(Into::into)
    });
    ReqBody::Boxed {
        inner: Box::pin(StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))),
        fuse_config: None,
    }
}

#[tokio::test]
async fn malformed_json_is_refused() {
    let server = Server::start().await;
    for body in [
        "",
        " ",
        "{",
        "{\"email\": }",
        "[1,",
        "{\"email\": \"a\"} trailing",
        "\u{feff}{}",
    ] {
        let answer = server.poke("/api/v1/auth/login").body(JSON, body).send().await;
        answer.problem(400, "malformed_json");
    }
    let bytes = b"{\"email\": \"\xff\xfe\", \"password\": \"x\"}".to_vec();
    server
        .poke("/api/v1/auth/login")
        .body(JSON, bytes)
        .send()
        .await
        .problem(400, "malformed_json");
    let deep = format!("{{\"email\": {}", "[".repeat(50_000));
    server
        .poke("/api/v1/auth/login")
        .body(JSON, deep)
        .send()
        .await
        .problem(400, "malformed_json");
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let server = Server::start().await;
    let cases = [
        (json!({ "email": "a@b.c" }), "password", "is required"),
        (json!({ "password": PASSWORD }), "email", "is required"),
        (
            json!({ "email": 5, "password": PASSWORD }),
            "email",
            "must be a string",
        ),
        (
            json!({ "email": null, "password": PASSWORD }),
            "email",
            "must be a string",
        ),
        (
            json!({ "email": "a@b.c", "password": ["secret-in-a-list"] }),
            "password",
            "must be a string",
        ),
        (
            json!({ "email": "a@b.c", "password": PASSWORD, "admin": true }),
            "admin",
            "is not known",
        ),
        (json!([]), "", "must be a JSON object that has each field once"),
        (
            json!("text"),
            "",
            "must be a JSON object that has each field once",
        ),
    ];
    for (body, field, message) in cases {
        let problem = server
            .post("/api/v1/auth/register", &body)
            .send()
            .await
            .problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
        assert_eq!(problem["errors"][0]["message"], message, "{problem}");
        assert!(!problem.to_string().contains("secret-in-a-list"), "{problem}");
    }
    server
        .login("a@b.c", PASSWORD)
        .await
        .problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_field_that_comes_twice_is_refused() {
    let server = Server::start().await;
    let body = r#"{"email": "a@b.c", "email": "d@e.f", "password": "correct horse"}"#;
    server
        .poke("/api/v1/auth/register")
        .body(JSON, body)
        .send()
        .await
        .problem(422, "invalid_request");
}

#[tokio::test]
async fn a_body_must_say_that_it_is_json() {
    let server = Server::start().await;
    let body = json!({ "email": "a@b.c", "password": PASSWORD }).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "nonsense",
    ] {
        let answer = server
            .poke("/api/v1/auth/login")
            .body(kind, body.clone())
            .send()
            .await;
        answer.problem(415, "unsupported_media_type");
    }
    let answer = server.poke("/api/v1/auth/login").raw(body.clone()).send().await;
    answer.problem(415, "unsupported_media_type");
    for kind in [
        "application/json; charset=UTF-8",
        "application/vnd.api+json",
        "APPLICATION/JSON",
    ] {
        let answer = server
            .poke("/api/v1/auth/login")
            .body(kind, body.clone())
            .send()
            .await;
        answer.problem(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let server = Server::start().await;
    let long = json!({ "email": "a@b.c", "password": "x".repeat(70_000) }).to_string();
    let announced = server
        .poke("/api/v1/auth/login")
        .body(JSON, long.clone())
        .header("content-length", &long.len().to_string());
    announced.send().await.problem(413, "body_too_large");
    let chunked = chunked(
        long.into_bytes()
            .chunks(1000)
            .map(|chunk| Ok(chunk.to_vec()))
            .collect(),
    );
    server
        .poke("/api/v1/auth/login")
        .body(JSON, chunked)
        .send()
        .await
        .problem(413, "body_too_large");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let server = Server::start().await;
    let parts = [Ok(b"{\"email\"".to_vec()), Err(std::io::Error::other("gone"))];
    let body = chunked(parts.into());
    server
        .poke("/api/v1/auth/login")
        .body(JSON, body)
        .send()
        .await
        .problem(400, "unreadable_body");
}

#[tokio::test]
async fn huge_and_strange_values_do_no_harm() {
    let server = Server::start().await;
    let long = "x".repeat(30_000);
    server
        .login(&long, &long)
        .await
        .problem(401, "invalid_credentials");
    let body = json!({ "email": "a@b.c", "password": long });
    server
        .post("/api/v1/auth/register", &body)
        .send()
        .await
        .problem(422, "invalid_request");
    let body = json!({ "email": "a@b.c", "password": "pass\u{0}word \u{1f980}" });
    assert_eq!(
        server.post("/api/v1/auth/register", &body).send().await.status,
        201
    );
    assert_eq!(server.login("a@b.c", "pass\u{0}word \u{1f980}").await.status, 200);
    server
        .login("a@b.c", "pass")
        .await
        .problem(401, "invalid_credentials");
}
