//! The metered route.

use std::time::Duration;

use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::Server;

const JSON: &str = "application/json";

#[tokio::test]
async fn a_question_is_answered_and_its_limits_are_shown() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let question = json!({ "source": "curiosity", "limit": 2 });
    let answer = server
        .post("/api/v1/data", &question)
        .token(&key.key)
        .send()
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["source"], "curiosity");
    assert_eq!(json["query"], Value::Null);
    assert_eq!(json["results"].as_array().unwrap().len(), 2);
    assert_eq!(json["cached"], false);
    assert!(json["tookMs"].is_number());
    assert_eq!(answer.header("content-type"), JSON);
    assert_eq!(answer.header("x-ratelimit-limit"), "1000");
    assert_eq!(answer.header("x-ratelimit-used"), "1");
    assert_eq!(answer.header("x-ratelimit-remaining"), "999");
    assert_eq!(answer.header("x-ratelimit-reset"), "2026-12-22");
    assert!(answer.header("ratelimit-policy").contains("\"month\";q=1000"));
    assert!(answer.header("ratelimit").starts_with("\"month\";r=999"));
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn the_1001st_request_of_the_month_is_refused_and_recorded_but_not_charged() {
    let server = Server::with("[plans.free]\nrequests_per_second = 5000").await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    for number in 1..=1000 {
        let answer = server.ask(&key.key).await;
        assert_eq!(answer.status, 200, "request {number}: {}", answer.text());
    }
    let refused = server.ask(&key.key).await;
    let problem = refused.problem(429, "quota_exceeded");
    assert_eq!(problem["resetDate"], "2026-12-22T00:00:00Z");
    assert_eq!(refused.header("x-ratelimit-remaining"), "0");
    assert!(!refused.header("retry-after").is_empty());
    let usage = server.usage(&ada).await;
    assert_eq!((&usage["used"], &usage["remaining"]), (&json!(1000), &json!(0)));
    assert_eq!(usage["requests"][0]["status"], 429);
    assert_eq!(usage["requests"][0]["units"], 0);
    assert_eq!(usage["requests"][1]["units"], 1);
    server.clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(server.ask(&key.key).await.status, 200, "a new month has begun");
}

#[tokio::test]
async fn too_many_requests_at_once_have_to_wait() {
    let server = Server::with("[plans.free]\nrequests_per_second = 3").await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    for _ in 0..3 {
        assert_eq!(server.ask(&key.key).await.status, 200);
    }
    let refused = server.ask(&key.key).await;
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.ask(&key.key).await.status, 200);
    assert_eq!(server.usage(&ada).await["used"], 4);
}

#[tokio::test]
async fn keys_that_do_not_count_look_alike() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await.key;
    let mut mistyped = key.clone();
    mistyped.replace_range(12..13, if &key[12..13] == "a" { "b" } else { "a" });
    let unknown = "hm_live_0123456789ABCDEFGHIJKLMNOPQRSTUVW3pPOh0";
    let mut bodies = Vec::new();
    for wrong in [
        mistyped.as_str(),
        unknown,
        "hm_live_",
        "garbage",
        &"x".repeat(5000),
    ] {
        let mut problem = server.ask(wrong).await.problem(401, "invalid_api_key");
        problem["requestId"] = Value::Null;
        bodies.push(problem);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    server
        .get("/api/v1/data?source=curiosity")
        .send()
        .await
        .problem(401, "missing_api_key");
    let two = server
        .get("/api/v1/data?source=curiosity")
        .header("x-api-key", &key)
        .token(&key)
        .send()
        .await;
    two.problem(400, "unreadable_api_key");
    let token = server
        .get("/api/v1/data?source=curiosity")
        .token(&ada.access_token)
        .send()
        .await;
    token.problem(401, "invalid_api_key");
}

#[tokio::test]
async fn a_failing_source_is_told_recorded_and_not_charged() {
    let upstream = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(500))
        .mount(&upstream)
        .await;
    let settings = format!("[sources.wiki]\nbase_url = \"{}\"", upstream.uri());
    let server = Server::with(&settings).await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let call = server
        .get("/api/v1/data?source=wiki&query=crab")
        .header("x-api-key", &key.key);
    let failed = call.send().await;
    failed.problem(502, "source_failed");
    assert_eq!(failed.header("x-ratelimit-limit"), "1000");
    let usage = server.usage(&ada).await;
    assert_eq!(usage["used"], 0);
    assert_eq!(usage["requests"][0]["status"], 502);
    assert_eq!(usage["requests"][0]["source"], "wiki");
    assert_eq!(usage["requests"][0]["units"], 0);
    let status = server
        .get("/api/v1/data?action=status")
        .header("x-api-key", &key.key)
        .send()
        .await
        .json();
    let names: Vec<_> = status["sources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|source| source["source"].clone())
        .collect();
    assert_eq!(names, ["wiki", "arxiv", "news", "weather", "curiosity"]);
    assert_eq!(status["sources"][0]["state"], "degraded");
    assert_eq!(status["sources"][4]["state"], "ok");
    assert_eq!(
        server.usage(&ada).await["used"],
        0,
        "asking for the status costs nothing"
    );
}

#[tokio::test]
async fn a_source_that_is_too_slow_is_given_up() {
    let upstream = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    Mock::given(any()).respond_with(slow).mount(&upstream).await;
    let settings = format!(
        "[sources.wiki]\nbase_url = \"{}\"\ntimeout_ms = 50",
        upstream.uri()
    );
    let server = Server::with(&settings).await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let question = json!({ "source": "wiki", "query": "crab" });
    let late = server
        .post("/api/v1/data", &question)
        .header("x-api-key", &key.key)
        .send()
        .await;
    late.problem(504, "source_timeout");
    assert_eq!(server.usage(&ada).await["used"], 0);
}

#[tokio::test]
async fn wrong_questions_are_refused_with_the_field() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let get = async |query: &str| {
        server
            .get(&format!("/api/v1/data?{query}"))
            .header("x-api-key", &key.key)
            .send()
            .await
    };
    for (query, code, field) in [
        ("", "invalid_request", "source"),
        ("source=stars", "unknown_source", "source"),
        ("source=wiki", "invalid_query", "query"),
        ("source=wiki&query=%20", "invalid_query", "query"),
        ("source=curiosity&limit=0", "invalid_limit", "limit"),
        ("source=curiosity&limit=x", "invalid_limit", "limit"),
        ("action=dance", "invalid_request", "action"),
    ] {
        let problem = get(query).await.problem(422, code);
        assert_eq!(problem["errors"][0]["field"], field, "{query}: {problem}");
    }
    let post = async |body: Value| {
        server
            .post("/api/v1/data", &body)
            .header("x-api-key", &key.key)
            .send()
            .await
    };
    for body in [
        json!({}),
        json!({ "source": 5 }),
        json!({ "source": "curiosity", "limit": "many" }),
        json!([]),
    ] {
        post(body).await.problem(422, "invalid_request");
    }
    post(json!({ "source": "curiosity", "colour": "red" }))
        .await
        .problem(422, "invalid_request");
    let malformed = server
        .poke("/api/v1/data")
        .body(JSON, "{")
        .header("x-api-key", &key.key)
        .send()
        .await;
    malformed.problem(400, "malformed_json");
    let plain = server
        .poke("/api/v1/data")
        .body("text/plain", "{}")
        .header("x-api-key", &key.key)
        .send()
        .await;
    plain.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_demo_serves_a_few_requests_a_day_without_a_key() {
    let server = Server::with("[demo]\ndaily_quota = 2").await;
    let ask = || server.get("/api/v1/data?source=curiosity");
    for _ in 0..2 {
        assert_eq!(ask().from("203.0.113.1").send().await.status, 200);
    }
    ask()
        .from("203.0.113.1")
        .send()
        .await
        .problem(429, "rate_limited");
    assert_eq!(ask().from("203.0.113.2").send().await.status, 200);
    ask()
        .from("203.0.113.2")
        .token("garbage")
        .send()
        .await
        .problem(401, "invalid_api_key");
}

#[tokio::test]
async fn options_describes_a_resource_and_answers_preflights() {
    let server = Server::start().await;
    for (path, method) in [
        ("/api/v1/keys", "POST"),
        ("/api/v1/usage", "GET"),
        ("/api/v1/data", "POST"),
    ] {
        let answer = server.options(path).send().await;
        assert_eq!(answer.status, 200, "{path}");
        let json = answer.json();
        assert_eq!(json["path"], path);
        assert!(
            json["methods"].as_array().unwrap().contains(&json!(method)),
            "{json}"
        );
        assert!(answer.header("allow").contains(method));
        let preflight = server
            .options(path)
            .header("origin", "https://app.example.com")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "x-api-key");
        let answer = preflight.send().await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(
            answer
                .header("access-control-allow-headers")
                .contains("x-api-key")
        );
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("hm.sqlite").display());
    let server = Server::on(&url, "").await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    for _ in 0..7 {
        assert_eq!(server.ask(&key.key).await.status, 200);
    }
    server.app.shutdown().await.unwrap();
    let server = Server::on(&url, "").await;
    assert_eq!(server.usage(&ada).await["used"], 7);
    let answer = server.ask(&key.key).await;
    assert_eq!(answer.header("x-ratelimit-used"), "8");
}
