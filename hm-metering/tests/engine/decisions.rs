//! What the log says of each decision, and which spans there are around the work in the background.

use std::time::Duration;

use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};
use tracing::Level;

use crate::log::{Heard, Line, heard, listen};
use crate::stage::{FIVE, Stage, facts, handler, with_key};

async fn send(stage: &Stage, key: &str) -> u16 {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(with_key(key)).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

/// A key that has the right form and that nobody knows.
async fn stranger() -> String {
    let elsewhere = Stage::new(FIVE).await;
    elsewhere.key.expose().to_owned()
}

/// Neither a key nor the random part of one.
fn must_not_tell(heard: &Heard, stage: &Stage, others: &[&str]) {
    let own = stage.key.expose();
    let random = &own[own.len() - 24..own.len() - 6];
    for secret in [own, random, "hm_live_"].iter().chain(others) {
        assert!(!heard.has(secret), "{secret} is in {heard:#?}");
    }
}

fn check(line: &Line, fields: &[(&str, &str)]) {
    for (name, expected) in fields {
        assert_eq!(line.field(name), *expected, "{name} of {line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_decision_is_one_line_at_debug_that_tells_why_and_no_secret() {
    let unknown = stranger().await;
    let stage = Stage::new(FIVE).await;
    listen();
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(send(&stage, stage.key.expose()).await, expected);
    }
    assert_eq!(send(&stage, &unknown).await, 401);
    assert_eq!(send(&stage, "nonsense").await, 401);
    let heard = heard();
    let (account, key) = (stage.account.to_string(), stage.key_id.to_string());

    let over = heard.events_of("a request is over");
    let events = stage.events().await;
    assert_eq!(over.len(), 5, "{over:#?}");
    for (line, event) in over.iter().zip(&events) {
        assert_eq!(line.level, Level::DEBUG);
        check(
            line,
            &[
                ("account.id", &account),
                ("key.id", &key),
                ("operation.name", "facts"),
                ("outcome", "completed"),
                ("status", "200"),
                ("units", "requests=1"),
                ("duration_ms", "0"),
                ("bytes.out", "5"),
                ("event.id", &event.id.to_string()),
            ],
        );
    }

    let refused = heard.events_of("a request was refused");
    assert_eq!(refused.len(), 3, "{refused:#?}");
    assert!(refused.iter().all(|line| line.level == Level::DEBUG));
    check(
        &refused[0],
        &[
            ("refusal.code", "quota_exceeded"),
            ("key.state", "accepted"),
            ("account.id", &account),
            ("key.id", &key),
            ("plan.name", "free"),
            ("operation.name", "facts"),
            ("limit.name", "month"),
            ("limit.units", "5"),
            ("limit.remaining", "0"),
            ("limit.needed", "1"),
            ("request.id", &events[5].request_id),
        ],
    );
    // From outside both look alike.
    for (line, state) in refused[1..].iter().zip(["unknown", "malformed"]) {
        check(line, &[("refusal.code", "invalid_api_key"), ("key.state", state)]);
        assert!(!line.fields.contains_key("account.id"), "{line:?}");
    }
    must_not_tell(&heard, &stage, &[&unknown, "nonsense"]);
}

#[tokio::test(start_paused = true)]
async fn work_in_the_background_has_spans_that_say_what_it_is_for_and_no_secret() {
    let stage = Stage::new(FIVE).await;
    listen();
    for _ in 0..3 {
        assert_eq!(send(&stage, stage.key.expose()).await, 200);
    }
    assert!(stage.meter.flush(Duration::from_secs(5)).await);
    let heard = heard();
    assert!(heard.spans.iter().all(|span| span.level == Level::DEBUG));

    let fills = heard.spans_of("fill");
    assert_eq!(fills.len(), 1, "the key is looked up once");
    assert!(fills[0].fields.is_empty(), "a key that is looked up is a secret");

    let leases = heard.spans_of("lease");
    assert!(!leases.is_empty());
    let account = stage.account.to_string();
    for lease in &leases {
        check(lease, &[("account.id", &account), ("meter.name", "requests")]);
    }

    let flushes = heard.spans_of("flush");
    let mut events = 0;
    for (flush, number) in flushes.iter().zip(1..) {
        let number = u64::to_string(&number);
        check(flush, &[("sink", "ledger"), ("batch.number", &number)]);
        events += flush.field("batch.events").parse::<u64>().unwrap();
    }
    assert_eq!(events, 3, "{flushes:#?}");
    must_not_tell(&heard, &stage, &[]);
}
