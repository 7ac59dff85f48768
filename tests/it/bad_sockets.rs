//! Bytes that no proper client sends: refused, or cut off where no answer is possible, and the server lives on.

use std::net::SocketAddr;

use hm_system_tests::http::Call;
use hm_system_tests::ledger::people_and_keys;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::raw::{RawAnswer, send};
use hm_system_tests::server::{Server, Settings};

struct Wire {
    server: Server,
    place: Place,
    ada: Person,
    key: Key,
}

impl Wire {
    async fn up() -> Self {
        let place = Place::on_sqlite();
        let server = Server::start(&place, &Settings::free_plan(1_000_000, 1_000_000)).await;
        let ada = Person::register(&server, "ada@example.org").await;
        let key = ada.create_key(&server, "the only one").await;
        Self {
            server,
            place,
            ada,
            key,
        }
    }

    /// A head with a good credential, and `more` headers, for a call that would make a key.
    fn create_key(&self, more: &str) -> String {
        let token = &self.ada.access_token;
        format!(
            "POST /api/v1/keys HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\n{more}\r\n"
        )
    }

    async fn send(&self, bytes: impl AsRef<[u8]>) -> RawAnswer {
        send(self.address(), bytes.as_ref()).await
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The server works as before, and there is one person with one key.
    async fn down(self) {
        self.server.call(Call::get("/readyz")).await.expect(200);
        self.server
            .call(Call::curiosity(&self.key.text))
            .await
            .expect(200);
        self.server.stop().await;
        assert_eq!(people_and_keys(&self.place).await, (1, 1), "people and keys");
    }
}

/// One answer, and that a 4xx with a problem document, also where the HTTP parser itself gives up.
fn must_be_refused(what: &str, answer: &RawAnswer) {
    let statuses = answer.statuses();
    assert!(
        matches!(statuses.as_slice(), [400..500]),
        "{what}: {statuses:?}\n{}",
        answer.text()
    );
    let Some(problem) = answer.problem() else {
        panic!("{what}: no problem document in {}", answer.text());
    };
    assert_eq!(problem["status"], statuses[0], "{what}: {problem}");
    assert!(problem["code"].is_string(), "{what}: {problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_unclear_length_are_refused() {
    let wire = Wire::up().await;
    let body = "{\"name\":\"smuggled\"}";
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    for (what, headers, body) in [
        (
            "two lengths",
            "Content-Length: 19\r\nContent-Length: 20\r\n",
            body.to_owned(),
        ),
        ("a list of lengths", "Content-Length: 19, 20\r\n", body.to_owned()),
        ("a negative length", "Content-Length: -19\r\n", body.to_owned()),
        ("a signed length", "Content-Length: +19\r\n", body.to_owned()),
        (
            "a hexadecimal length",
            "Content-Length: 0x13\r\n",
            body.to_owned(),
        ),
        (
            "a length that is a word",
            "Content-Length: many\r\n",
            body.to_owned(),
        ),
        (
            "a length beyond numbers",
            "Content-Length: 99999999999999999999999\r\n",
            body.to_owned(),
        ),
        (
            "an absurd length",
            "Content-Length: 9223372036854775807\r\n",
            body.to_owned(),
        ),
        (
            "an unknown coding",
            "Transfer-Encoding: squeezed\r\n",
            format!("{chunk}0\r\n\r\n"),
        ),
        (
            "chunked, but not last",
            "Transfer-Encoding: chunked, identity\r\n",
            format!("{chunk}0\r\n\r\n"),
        ),
        (
            "a chunk of no size",
            "Transfer-Encoding: chunked\r\n",
            format!("zz\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a chunk of absurd size",
            "Transfer-Encoding: chunked\r\n",
            format!("fffffffffffffffff\r\n{body}\r\n0\r\n\r\n"),
        ),
        (
            "a chunk that is longer than it says",
            "Transfer-Encoding: chunked\r\n",
            format!("3\r\n{body}\r\n0\r\n\r\n"),
        ),
    ] {
        let answer = wire.send(wire.create_key(headers) + &body).await;
        must_be_refused(what, &answer);
    }
    wire.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hides_in_the_body_of_another() {
    let wire = Wire::up().await;
    let hidden = wire.create_key("Content-Length: 20\r\n") + "{\"name\":\"smuggled!\"}";
    // Who believes the length sees one request; who believes the chunks sees the hidden one after it.
    let both = format!(
        "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
        5 + hidden.len()
    );
    let other_order = format!(
        "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n",
        5 + hidden.len()
    );
    for headers in [both, other_order] {
        let outer = wire.create_key(&headers).replace("Connection: close\r\n", "");
        let answer = wire.send(format!("{outer}0\r\n\r\n{hidden}")).await;
        must_be_refused("both a length and chunks", &answer);
    }
    // Too short a length: what is left over must not become a request.
    let outer = wire.create_key("Content-Length: 2\r\n");
    let answer = wire.send(format!("{outer}{{}}{hidden}")).await;
    must_be_refused("more than the announced body", &answer);
    wire.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_no_http_are_refused() {
    let wire = Wire::up().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("no version", b"GET /healthz\r\n\r\n".to_vec()),
        ("an unknown version", b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n".to_vec()),
        ("a space before the colon", wire.create_key("X-API-Key : x\r\n").into_bytes()),
        ("a header without a name", wire.create_key(": x\r\n").into_bytes()),
        ("a header without a colon", wire.create_key("nonsense\r\n").into_bytes()),
        ("a folded header", wire.create_key("X-Fold: a\r\n b\r\n").into_bytes()),
        ("a NUL in a header", wire.create_key("X-Nul: a\0b\r\n").into_bytes()),
        ("bad UTF-8 in a path", b"GET /api/v1/\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec()),
        ("a space in a path", b"GET /api/v1/a b HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("an empty path", b"GET  HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a path of another server", b"GET http://example.org/etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec()),
        ("a tunnel", b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\nConnection: close\r\n\r\n".to_vec()),
        ("bad UTF-8 in a key", [b"GET /api/v1/data?source=curiosity HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-API-Key: hm_\xff\xfe\r\n\r\n".as_slice()].concat()),
    ];
    for (what, bytes) in cases {
        must_be_refused(what, &wire.send(bytes).await);
    }
    wire.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_any_size_are_cut_off() {
    let wire = Wire::up().await;
    let ten_megabytes = "x".repeat(10 * 1024 * 1024);
    let many: String = (0..10_000)
        .map(|number| format!("X-Header-{number}: x\r\n"))
        .collect();
    for (what, bytes) in [
        (
            "a header of 10 MB",
            wire.create_key(&format!("X-Long: {ten_megabytes}\r\n")),
        ),
        (
            "a key of 10 MB",
            format!("GET /api/v1/data HTTP/1.1\r\nHost: x\r\nX-API-Key: {ten_megabytes}\r\n\r\n"),
        ),
        (
            "a path of 10 MB",
            format!("GET /{ten_megabytes} HTTP/1.1\r\nHost: x\r\n\r\n"),
        ),
        ("10,000 headers", wire.create_key(&many)),
    ] {
        must_be_refused(what, &wire.send(bytes).await);
    }
    wire.down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let wire = Wire::up().await;
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(200_000));
    let announced = wire.create_key(&format!("Content-Length: {}\r\n", long.len())) + &long;
    let chunks: String = long
        .as_bytes()
        .chunks(10_000)
        .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
        .collect();
    let chunked = wire.create_key("Transfer-Encoding: chunked\r\n") + &chunks + "0\r\n\r\n";
    for (what, bytes) in [("announced", announced), ("in chunks", chunked)] {
        let answer = wire.send(bytes).await;
        if !answer.statuses().is_empty() {
            must_be_refused(what, &answer);
            assert_eq!(answer.statuses(), [413], "{what}");
        }
    }
    // The head alone is enough to refuse it, so here the answer can be read.
    let answer = wire.send(wire.create_key("Content-Length: 200000\r\n")).await;
    must_be_refused("announced, not sent", &answer);
    assert_eq!(answer.problem().expect("a document")["code"], "body_too_large");
    wire.down().await;
}
