//! Decisions for services that are not written in Rust, and how they came about for operators.

use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Answer, Key, Person, Server};

const PATH: &str = "/api/v1/keys/verify";

async fn key_with(server: &Server, person: &Person, body: Value) -> Key {
    let answer = server
        .post("/api/v1/keys", &body)
        .token(&person.access_token)
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let json = answer.json();
    Key {
        id: json["id"].as_str().unwrap().to_owned(),
        key: json["key"].as_str().unwrap().to_owned(),
    }
}

/// A service that may ask, and a customer with a key.
async fn stage() -> (Server, Key, Person, Key) {
    let server = Server::with("[plans.free]\nrequests_per_month = 5").await;
    let owner = server.register("owner@example.org").await;
    let service = key_with(
        &server,
        &owner,
        json!({ "name": "gateway", "scopes": ["keys:verify"] }),
    )
    .await;
    let ada = server.register("ada@example.org").await;
    let body = json!({ "name": "app", "scopes": ["chat"], "ipAllow": ["203.0.113.0/24"] });
    let key = key_with(&server, &ada, body).await;
    (server, service, ada, key)
}

async fn ask(server: &Server, service: &Key, body: &Value) -> Answer {
    server
        .post(PATH, body)
        .header("x-api-key", &service.key)
        .send()
        .await
}

async fn ask_as_operator(server: &Server, body: &Value) -> Answer {
    server
        .post(PATH, body)
        .header("x-admin-key", ADMIN_KEY)
        .send()
        .await
}

fn of(key: &str) -> Value {
    json!({ "key": key, "operation": "chat.send", "cost": 2, "scopes": ["chat"], "clientAddress": "203.0.113.9" })
}

#[tokio::test]
async fn a_service_gets_a_decision_that_is_charged_and_in_the_ledger() {
    let (server, service, ada, key) = stage().await;
    for (used, decision) in [(2, "allowed"), (4, "allowed"), (4, "refused")] {
        let answer = ask(&server, &service, &of(&key.key)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["decision"], decision, "{answer}");
        assert_eq!(answer["principal"]["accountId"], ada.json["account"]["id"]);
        assert_eq!(answer["principal"]["keyId"], key.id.as_str());
        assert_eq!(answer["principal"]["tier"], "free");
        assert!(answer.get("trace").is_none(), "a trace is for operators");
        let month = &answer["limits"][0];
        assert_eq!(
            (&month["name"], &month["limit"]),
            (&json!("month"), &json!(5)),
            "{answer}"
        );
        if decision == "allowed" {
            assert_eq!(answer["principal"]["scopes"], json!(["chat"]));
            assert_eq!(answer["principal"]["userId"], ada.json["user"]["id"]);
            assert_eq!(answer["code"], Value::Null);
        } else {
            assert_eq!(
                (&answer["code"], &answer["status"]),
                (&json!("quota_exceeded"), &json!(429))
            );
            assert!(answer["retryAfterMs"].as_u64().unwrap() > 0);
        }
        assert_eq!(server.usage(&ada).await["used"], used);
    }
    let usage = server.usage(&ada).await;
    let first = usage["requests"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&first["endpoint"], &first["units"]),
        (&json!("chat.send"), &json!(2))
    );
    // Without a cost it is only a question.
    let mut free = of(&key.key);
    free["cost"] = json!(0);
    assert_eq!(ask(&server, &service, &free).await.json()["decision"], "allowed");
    assert_eq!(server.usage(&ada).await["used"], 4);
}

#[tokio::test]
async fn keys_that_do_not_count_look_alike_to_services_and_differ_for_operators() {
    let (server, service, ada, key) = stage().await;
    let path = format!("/api/v1/keys/{}", key.id);
    assert_eq!(
        ask(&server, &service, &of(&key.key)).await.json()["decision"],
        "allowed"
    );
    assert_eq!(
        server.delete(&path).token(&ada.access_token).send().await.status,
        204
    );
    let unknown = hm_metering::KeyFormat::default()
        .generate(hm_metering::KeyEnv::Live)
        .unwrap();
    let mut told = Vec::new();
    for (text, state) in [
        (key.key.as_str(), "revoked"),
        (unknown.expose(), "unknown"),
        ("garbage", "malformed"),
    ] {
        let answer = ask(&server, &service, &of(text)).await.json();
        assert_eq!(
            (&answer["code"], &answer["status"]),
            (&json!("invalid_api_key"), &json!(401))
        );
        assert_eq!(answer["principal"], Value::Null, "{answer}");
        told.push(answer);
        let answer = ask_as_operator(&server, &of(text)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let trace = &answer.json()["trace"];
        assert_eq!(trace["keyState"], state, "{trace}");
        assert_eq!(trace["decision"], "refused");
        assert_eq!(trace["requestId"], answer.header("x-request-id"));
        assert!(!answer.text().contains(text), "the key is in {}", answer.text());
    }
    assert!(told.iter().all(|answer| *answer == told[0]), "{told:#?}");
}

#[tokio::test]
async fn scopes_and_networks_of_a_key_hold() {
    let (server, service, _, key) = stage().await;
    let mut other = of(&key.key);
    other["scopes"] = json!(["chat", "billing"]);
    assert_eq!(
        ask(&server, &service, &other).await.json()["code"],
        "missing_scope"
    );
    for address in [json!("198.51.100.1"), Value::Null] {
        let mut elsewhere = of(&key.key);
        elsewhere["clientAddress"] = address;
        assert_eq!(
            ask(&server, &service, &elsewhere).await.json()["code"],
            "address_not_allowed"
        );
    }
}

#[tokio::test]
async fn nobody_asks_without_the_right_to() {
    let (server, service, ada, key) = stage().await;
    let body = of(&key.key);
    server
        .post(PATH, &body)
        .send()
        .await
        .problem(401, "missing_token");
    let person = server.post(PATH, &body).token(&ada.access_token).send().await;
    person.problem(401, "missing_api_key");
    let plain = server.key_of(&ada).await;
    ask(&server, &plain, &body).await.problem(403, "missing_scope");
    let guess = server
        .post(PATH, &body)
        .header("x-admin-key", "a guess")
        .send()
        .await;
    guess.problem(401, "invalid_admin_key");
    // Who has the wrong admin key is not asked for another.
    let both = server
        .post(PATH, &body)
        .header("x-admin-key", "")
        .header("x-api-key", &service.key);
    both.send().await.problem(401, "invalid_admin_key");
    assert_eq!(server.usage(&ada).await["used"], 0);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_field_by_field() {
    let (server, service, _, key) = stage().await;
    for (field, value) in [
        ("operation", json!("no name!")),
        ("cost", json!(1_000_001)),
        ("scopes", json!(["no scope!"])),
        ("clientAddress", json!("here")),
        ("unknown", json!(1)),
    ] {
        let mut body = of(&key.key);
        body[field] = value;
        let problem = ask(&server, &service, &body)
            .await
            .problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
}
