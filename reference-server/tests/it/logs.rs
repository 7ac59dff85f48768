//! What the log says, and what it never says.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use serde_json::json;

use crate::harness::{PASSWORD, Person, Server};

thread_local! {
    /// What was logged on this thread since [`capture`]. A test with a runtime of one thread sees its own lines only.
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                lines.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for the whole process: those of single threads miss what other threads have logged first.
fn capture() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| ToThread)
            .init();
    });
    LINES.set(Some(Vec::new()));
}

fn captured() -> String {
    String::from_utf8(LINES.take().unwrap()).unwrap()
}

#[tokio::test]
async fn the_log_names_requests_and_never_shows_a_secret() {
    capture();
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let session = Person::from(server.login("ada@example.org", PASSWORD).await.json());
    let refreshed = Person::from(server.refresh(&session.refresh_token).await.json());
    server
        .refresh(&session.refresh_token)
        .await
        .problem(401, "invalid_refresh_token");
    let query = format!("/api/v1/me?token={}", ada.access_token);
    let call = server
        .get(&query)
        .token(&ada.access_token)
        .header("x-request-id", "req-42");
    assert_eq!(call.send().await.status, 200);
    let guess = json!({ "email": "ada@example.org", "password": "a wrong guess" });
    server
        .post("/api/v1/auth/login", &guess)
        .send()
        .await
        .problem(401, "invalid_credentials");
    let text = captured();
    for secret in [
        PASSWORD,
        "a wrong guess",
        &ada.access_token,
        &ada.refresh_token,
        &session.access_token,
        &session.refresh_token,
        &refreshed.access_token,
        &refreshed.refresh_token,
        "a secret for tests",
        "a pepper for tests",
        "argon2id",
    ] {
        let found = text.lines().find(|line| line.contains(secret));
        assert!(found.is_none(), "a secret is in the log: {}", found.unwrap());
    }
    let access = text
        .lines()
        .find(|line| line.contains("req-42") && line.contains("request answered"))
        .unwrap();
    let access: serde_json::Value = serde_json::from_str(access).unwrap();
    assert_eq!(access["fields"]["http.method"], "GET");
    assert_eq!(access["fields"]["http.route"], "/api/v1/me");
    assert_eq!(access["fields"]["http.status"], 200);
    assert!(access["fields"]["duration_ms"].is_number());
    assert!(text.contains("a refresh token was used twice"));
}

#[tokio::test]
async fn at_debug_the_log_tells_of_each_decision_how_it_came_about() {
    capture();
    let server = Server::with("[plans.free]\nrequests_per_month = 1").await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    assert_eq!(server.ask(&key.key).await.status, 200);
    let refused = server.ask(&key.key).await;
    refused.problem(429, "quota_exceeded");
    let text = captured();
    let line = |message: &str| -> serde_json::Value {
        let found: Vec<_> = text.lines().filter(|line| line.contains(message)).collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        serde_json::from_str(found[0]).unwrap()
    };
    let (over, refusal) = (line("a request is over"), line("a request was refused"));
    for line in [&over, &refusal] {
        assert_eq!(line["level"], "DEBUG", "{line}");
        assert_eq!(line["fields"]["account.id"], ada.json["account"]["id"]);
        assert_eq!(line["fields"]["key.id"], key.id.as_str());
        assert_eq!(line["fields"]["operation.name"], "data.query");
    }
    assert_eq!(over["fields"]["units"], "requests=1");
    assert_eq!(refusal["fields"]["refusal.code"], "quota_exceeded");
    assert_eq!(refusal["fields"]["limit.name"], "month");
    assert_eq!(refusal["fields"]["request.id"], refused.header("x-request-id"));
    assert!(!text.contains(&key.key), "a key is in the log");
}
