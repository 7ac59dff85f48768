//! From registering to a used-up quota, a revoked key and a restart.

use hm_system_tests::http::{Call, Connection};
use hm_system_tests::load::{Shots, fire};
use hm_system_tests::on_every_database;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use serde_json::{Value, json};

use crate::answers::{must_be_a_time, must_tell_the_limits, sortable_time};

const QUOTA: u64 = 1_000;
/// So high that it does not get in the way of the quota.
const RATE: u64 = 100_000;

on_every_database! {
    the_free_quota_is_exact => the_free_quota_is_exact_on_sqlite, the_free_quota_is_exact_on_postgres, the_free_quota_is_exact_on_mariadb;
    the_shipped_settings_work => the_shipped_settings_work_on_sqlite, the_shipped_settings_work_on_postgres, the_shipped_settings_work_on_mariadb;
}

async fn the_free_quota_is_exact(place: Place) {
    let settings = Settings::free_plan(QUOTA, RATE);
    let server = Server::start(&place, &settings).await;
    Person::register(&server, "ada@example.org").await;
    let ada = Person::log_in(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "Analytical Engine").await;

    let shots = fire(server.address(), &key.text, 1_200, "story").await;
    exactly_the_quota_was_admitted(&shots);
    let usage = ada.usage(&server).await;
    usage_shows_the_used_up_quota(&usage, &key);
    every_request_is_listed_once(&server, &ada, &shots).await;

    revoking_works_at_once(&server, &ada, &key).await;
    server.stop().await;

    let server = Server::start(&place, &settings).await;
    key.keep_secret(&server);
    server
        .call(Call::curiosity(&key.text))
        .await
        .problem(401, "invalid_api_key");
    let ada = Person::log_in(&server, "ada@example.org").await;
    let after = ada.usage(&server).await;
    for field in [
        "accountId",
        "userId",
        "tier",
        "quota",
        "used",
        "remaining",
        "resetDate",
        "periodStart",
    ] {
        assert_eq!(after[field], usage[field], "{field} after a restart");
    }
    let listed = &ada.keys(&server).await[0];
    assert_eq!(
        (&listed["isActive"], listed["usageCount"].as_u64()),
        (&Value::Bool(false), Some(QUOTA)),
        "{listed}"
    );
    let other = ada.create_key(&server, "after the restart").await;
    server
        .call(Call::curiosity(&other.text))
        .await
        .problem(429, "quota_exceeded");
    server.stop().await;
}

fn exactly_the_quota_was_admitted(shots: &Shots) {
    assert_eq!(shots.admitted().len(), 1_000, "requests admitted");
    assert_eq!(
        shots.refused("quota_exceeded").len(),
        200,
        "requests refused for the quota"
    );
    for answer in shots.answers() {
        must_tell_the_limits(answer, QUOTA, RATE);
        if answer.status == 200 {
            let body = answer.json();
            assert_eq!(body["source"], "curiosity", "{body}");
            assert!(!body["results"].as_array().unwrap().is_empty(), "{body}");
            assert!(body["cached"].is_boolean() && body["tookMs"].is_u64(), "{body}");
        } else {
            let problem = answer.problem(429, "quota_exceeded");
            must_be_a_time(problem["resetDate"].as_str().expect("resetDate"));
            assert_eq!(answer.number("x-ratelimit-remaining"), 0);
        }
    }
    for shot in &shots.0 {
        assert_eq!(
            shot.answer.as_ref().unwrap().header("x-request-id"),
            shot.request_id
        );
    }
}

fn usage_shows_the_used_up_quota(usage: &Value, key: &Key) {
    assert_eq!(usage["tier"], "free", "{usage}");
    assert_eq!(
        [&usage["quota"], &usage["used"], &usage["remaining"]].map(Value::as_u64),
        [Some(QUOTA), Some(QUOTA), Some(0)],
        "quota, used, remaining"
    );
    assert!(
        usage["userId"].is_string() && usage["accountId"].is_string(),
        "{usage}"
    );
    must_be_a_time(usage["resetDate"].as_str().unwrap());
    must_be_a_time(usage["periodStart"].as_str().unwrap());
    let requests = usage["requests"].as_array().unwrap();
    assert!(!requests.is_empty());
    for request in requests {
        let expected = match request["status"].as_u64() {
            Some(200) => 1,
            Some(429) => 0,
            other => panic!("a request with the status {other:?}"),
        };
        assert_eq!(request["units"], expected, "{request}");
        assert_eq!(request["endpoint"], "/api/v1/data", "{request}");
        assert_eq!(request["method"], "POST", "{request}");
        assert_eq!(request["keyId"], key.id, "{request}");
        assert!(request["responseTime"].is_number(), "{request}");
        if expected == 1 {
            assert_eq!(request["source"], "curiosity", "{request}");
        }
    }
}

/// Walks through all pages of the usage list.
async fn every_request_is_listed_once(server: &Server, person: &Person, shots: &Shots) {
    let mut connection = Connection::open(server.address()).await.unwrap();
    let mut statuses = Vec::new();
    let mut times: Vec<String> = Vec::new();
    let mut path = "/api/v1/usage?limit=100".to_owned();
    loop {
        let page = connection
            .send(Call::get(&path).bearer(&person.access_token))
            .await
            .unwrap()
            .expect(200);
        for request in page["requests"].as_array().unwrap() {
            statuses.push(request["status"].as_u64().unwrap());
            times.push(sortable_time(request["timestamp"].as_str().unwrap()));
        }
        assert!(
            statuses.len() <= shots.0.len(),
            "more requests are listed than were made"
        );
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/usage?limit=100&cursor={cursor}"),
            None => break,
        }
    }
    let of = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((of(200), of(429)), (1_000, 200), "requests listed");
    assert!(
        times.is_sorted_by(|earlier, later| earlier >= later),
        "the list is newest first"
    );
}

async fn revoking_works_at_once(server: &Server, person: &Person, key: &Key) {
    let mut connection = Connection::open(server.address()).await.unwrap();
    let path = format!("/api/v1/keys/{}", key.id);
    let revoke = || Call::delete(&path).bearer(&person.access_token);
    let answer = connection.send(revoke()).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{}", answer.text());
    let refused = connection.send(Call::curiosity(&key.text)).await.unwrap();
    refused.problem(401, "invalid_api_key");
    assert!(!refused.header("www-authenticate").is_empty());
    assert_eq!(
        connection.send(revoke()).await.unwrap().status,
        204,
        "revoking again"
    );
    let other = Person::register(server, "eve@example.org").await;
    let foreign = Call::delete(&path).bearer(&other.access_token);
    connection.send(foreign).await.unwrap().problem(404, "not_found");
}

/// Nothing is configured but the port and the database.
async fn the_shipped_settings_work(place: Place) {
    let settings = Settings::default().without("JWT_SECRET").without("KEY_PEPPER");
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "first").await;
    let mut connection = Connection::open(server.address()).await.unwrap();
    for used in 1..=5 {
        let call = match used % 2 {
            0 => Call::get("/api/v1/data?source=curiosity&query=moon").key(&key.text),
            _ => Call::post("/api/v1/data", &json!({ "source": "curiosity" })).bearer(&key.text),
        };
        let answer = connection.send(call).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        must_tell_the_limits(&answer, 1_000, 100);
        assert_eq!(answer.number("x-ratelimit-used"), used);
    }
    let by_key = connection
        .send(Call::get("/api/v1/usage").key(&key.text))
        .await
        .unwrap()
        .expect(200);
    let by_token = ada.usage(&server).await;
    assert_eq!(by_key["accountId"], by_token["accountId"]);
    assert_eq!(by_token["used"], 5, "the usage list is not metered");
    server.stop().await;

    let server = Server::start(&place, &settings).await;
    key.keep_secret(&server);
    let answer = server.call(Call::curiosity(&key.text)).await;
    assert_eq!(
        answer.status,
        200,
        "the generated secrets were kept: {}",
        answer.text()
    );
    assert_eq!(answer.number("x-ratelimit-used"), 6);
    server.stop().await;
}
