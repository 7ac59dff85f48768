//! Limits on guessing passwords.

use std::time::Duration;

use serde_json::json;

use crate::harness::{PASSWORD, Server};

async fn guess(server: &Server, email: &str, client: &str) -> crate::harness::Answer {
    let body = json!({ "email": email, "password": "a guess" });
    server.post("/api/v1/auth/login", &body).from(client).send().await
}

#[tokio::test]
async fn after_some_wrong_guesses_even_the_right_password_has_to_wait() {
    let server = Server::with("[auth.login]\nattempts = 3\nwindow_s = 60").await;
    server.register("ada@example.org").await;
    for _ in 0..3 {
        guess(&server, "ada@example.org", "203.0.113.1")
            .await
            .problem(401, "invalid_credentials");
    }
    server.clock.advance(Duration::from_secs(20));
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let right = server
        .post("/api/v1/auth/login", &body)
        .from("203.0.113.1")
        .send()
        .await;
    right.problem(429, "too_many_attempts");
    assert_eq!(right.header("retry-after"), "40");
    let elsewhere = server
        .post("/api/v1/auth/login", &body)
        .from("203.0.113.2")
        .send()
        .await;
    assert_eq!(elsewhere.status, 200, "another client is not locked out");
    server.clock.advance(Duration::from_secs(40));
    let later = server
        .post("/api/v1/auth/login", &body)
        .from("203.0.113.1")
        .send()
        .await;
    assert_eq!(later.status, 200);
}

#[tokio::test]
async fn unknown_addresses_are_limited_like_known_ones() {
    let server = Server::with("[auth.login]\nattempts = 1").await;
    guess(&server, "eve@example.org", "203.0.113.1")
        .await
        .problem(401, "invalid_credentials");
    guess(&server, "eve@example.org", "203.0.113.1")
        .await
        .problem(429, "too_many_attempts");
}

#[tokio::test]
async fn guesses_at_the_same_time_are_counted_one_by_one() {
    let server = Server::with("[auth.login]\nattempts = 5").await;
    server.register("ada@example.org").await;
    let calls = (0..20).map(|_| guess(&server, "ada@example.org", "203.0.113.1"));
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 15);
}

#[tokio::test]
async fn the_client_behind_a_trusted_proxy_is_who_is_limited() {
    let server = Server::with("[http]\ntrusted_proxies = [\"10.0.0.1\"]\n[auth.login]\nattempts = 1").await;
    let body = json!({ "email": "eve@example.org", "password": "a guess" });
    let through_proxy = |client: &'static str| {
        server
            .post("/api/v1/auth/login", &body)
            .from("10.0.0.1")
            .header("x-forwarded-for", client)
            .send()
    };
    through_proxy("6.6.6.6, 198.51.100.1")
        .await
        .problem(401, "invalid_credentials");
    through_proxy("7.7.7.7, 198.51.100.1")
        .await
        .problem(429, "too_many_attempts");
    through_proxy("198.51.100.2")
        .await
        .problem(401, "invalid_credentials");
}

#[tokio::test]
async fn one_client_can_not_knock_on_the_door_all_day() {
    let server = Server::with("[auth.login]\nburst_per_minute = 3").await;
    for number in 0..3 {
        let email = format!("{number}@example.org");
        guess(&server, &email, "203.0.113.1")
            .await
            .problem(401, "invalid_credentials");
    }
    let refused = guess(&server, "3@example.org", "203.0.113.1").await;
    refused.problem(429, "rate_limited");
    assert!(!refused.header("retry-after").is_empty());
    guess(&server, "3@example.org", "203.0.113.2")
        .await
        .problem(401, "invalid_credentials");
}
