//! A server in place of all upstreams, and a clock that stands still until told otherwise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hm_metering::{Clock, Timestamp};
use hm_server::sources::{Answer, SourceError, Sources, SourcesConfig};
use serde_json::Value;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// 2026-03-01T12:00:00Z.
const START_MICROS: i64 = 1_772_366_400_000_000;

pub struct StillClock(Mutex<Duration>);

impl StillClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(START_MICROS).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// Each live source, the path at which it is asked first, and an answer of it in which nothing was found.
pub const LIVE: [(&str, &str, &str); 4] = [
    (
        "wiki",
        "/w/api.php",
        r#"{"batchcomplete":true,"query":{"search":[]}}"#,
    ),
    (
        "arxiv",
        "/api/query",
        r#"<feed xmlns="http://www.w3.org/2005/Atom"><title>none</title></feed>"#,
    ),
    ("news", "/api/v1/search", r#"{"hits":[],"nbHits":0}"#),
    ("weather", "/v1/search", r#"{"generationtime_ms":0.4}"#),
];

/// Settings by which every source asks the server at `base_url`.
pub fn config(base_url: &str) -> SourcesConfig {
    let mut config = SourcesConfig::default();
    config.wiki.base_url = base_url.to_owned();
    config.arxiv.base_url = base_url.to_owned();
    config.news.base_url = base_url.to_owned();
    config.weather.base_url = base_url.to_owned();
    config.weather.geocoding_url = base_url.to_owned();
    config
}

pub fn sources(config: &SourcesConfig) -> Sources {
    Sources::new(config, StillClock::new()).unwrap()
}

/// A server that answers `body` at `at`, and sources that ask it.
pub async fn answering(at: &str, body: &str) -> (MockServer, Sources) {
    let server = MockServer::start().await;
    serve(&server, at, ResponseTemplate::new(200).set_body_string(body)).await;
    let sources = sources(&config(&server.uri()));
    (server, sources)
}

pub async fn serve(server: &MockServer, at: &str, answer: ResponseTemplate) {
    Mock::given(method("GET"))
        .and(path(at))
        .respond_with(answer)
        .mount(server)
        .await;
}

pub fn results(answer: &Answer) -> Value {
    serde_json::to_value(answer).unwrap()["results"].take()
}

pub fn bad_answer(outcome: Result<Answer, SourceError>) -> &'static str {
    match outcome {
        Err(SourceError::BadAnswer(reason)) => reason,
        other => panic!("{other:?}"),
    }
}
