//! Registering and signing in.

use serde_json::{Value, json};

use crate::harness::{PASSWORD, Server};

#[tokio::test]
async fn somebody_registers_and_is_signed_in() {
    let server = Server::start().await;
    let body = json!({ "email": " Ada@Example.org ", "password": PASSWORD, "name": "Ada Lovelace" });
    let answer = server.post("/api/v1/auth/register", &body).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["user"]["email"], "ada@example.org");
    assert_eq!(json["user"]["name"], "Ada Lovelace");
    assert_eq!(json["user"]["role"], "user");
    assert_eq!(json["user"]["emailVerified"], false);
    assert_eq!(json["user"]["createdAt"], "2026-11-22T12:00:00Z");
    assert_eq!(json["account"]["tier"], "free");
    assert_eq!(json["account"]["createdAt"], "2026-11-22T12:00:00Z");
    assert_eq!(json["expiresIn"], 900);
    assert_eq!(
        keys(&json),
        ["accessToken", "account", "expiresIn", "refreshToken", "user"]
    );
    assert_eq!(
        keys(&json["user"]),
        ["createdAt", "email", "emailVerified", "id", "name", "role"]
    );
    assert_eq!(keys(&json["account"]), ["createdAt", "id", "name", "tier"]);
    assert_eq!(answer.header("cache-control"), "no-store");

    let me = server
        .get("/api/v1/me")
        .token(json["accessToken"].as_str().unwrap())
        .send()
        .await;
    assert_eq!(me.status, 200);
    assert_eq!(me.json()["id"], json["user"]["id"]);
    assert_eq!(me.json()["account"], json["account"]);
}

#[tokio::test]
async fn a_taken_address_is_refused_in_any_spelling() {
    let server = Server::start().await;
    server.register("ada@example.org").await;
    let body = json!({ "email": "ADA@example.ORG", "password": PASSWORD });
    server
        .post("/api/v1/auth/register", &body)
        .send()
        .await
        .problem(409, "email_taken");
}

#[tokio::test]
async fn of_many_who_register_one_address_at_once_one_gets_it_whole() {
    let server = Server::start().await;
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let calls = (0..8).map(|_| server.post("/api/v1/auth/register", &body).send());
    let answers = futures_util::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.problem(409, "email_taken");
    }
    let answer = server.login("ada@example.org", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn everything_wrong_with_a_registration_is_said_at_once() {
    let server = Server::start().await;
    let body = json!({ "email": "nobody", "password": "short", "name": "a\u{0}b" });
    let problem = server
        .post("/api/v1/auth/register", &body)
        .send()
        .await
        .problem(422, "invalid_request");
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["field"].clone())
        .collect();
    assert_eq!(fields, ["email", "password", "name"]);
    assert!(!problem.to_string().contains("short"), "{problem}");
    server
        .login("nobody", "short")
        .await
        .problem(401, "invalid_credentials");
}

#[tokio::test]
async fn a_name_is_text_and_nothing_else() {
    let server = Server::start().await;
    let name = "Robert'); DROP TABLE users;--";
    let body = json!({ "email": "bobby@example.org", "password": "'; DELETE FROM users; --", "name": name });
    let answer = server.post("/api/v1/auth/register", &body).send().await;
    assert_eq!(answer.json()["user"]["name"], name);
    let answer = server
        .login("bobby@example.org", "'; DELETE FROM users; --")
        .await;
    assert_eq!(answer.json()["user"]["name"], name);
    server
        .login("' OR 1=1 --@example.org", "x")
        .await
        .problem(401, "invalid_credentials");
}

#[tokio::test]
async fn signing_in_gives_new_tokens() {
    let server = Server::start().await;
    let registered = server.register("ada@example.org").await;
    let answer = server.login("Ada@example.org", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["user"], registered.json["user"]);
    assert_ne!(json["accessToken"], registered.access_token);
    assert_ne!(json["refreshToken"], registered.refresh_token);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_alike() {
    let server = Server::start().await;
    server.register("ada@example.org").await;
    let mut wrong = server
        .login("ada@example.org", "wrong password")
        .await
        .problem(401, "invalid_credentials");
    let mut unknown = server
        .login("eve@example.org", PASSWORD)
        .await
        .problem(401, "invalid_credentials");
    wrong["requestId"] = Value::Null;
    unknown["requestId"] = Value::Null;
    assert_eq!(wrong, unknown);
}

#[tokio::test]
async fn an_account_may_be_opened_without_a_name() {
    let server = Server::start().await;
    let body = json!({ "email": "ada@example.org", "password": PASSWORD });
    let json = server.post("/api/v1/auth/register", &body).send().await.json();
    assert_eq!(json["user"]["name"], Value::Null);
    assert_eq!(json["account"]["name"], "ada");
}

fn keys(json: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
