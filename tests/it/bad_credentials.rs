//! Keys that are missing, wrong, or too many.

use hm_system_tests::http::{Answer, Call, Connection};
use hm_system_tests::ledger::Ledger;
use hm_system_tests::on_every_database;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use serde_json::{Value, json};

on_every_database! {
    requests_without_one_good_key_are_refused => requests_without_one_good_key_are_refused_on_sqlite, requests_without_one_good_key_are_refused_on_postgres, requests_without_one_good_key_are_refused_on_mariadb;
}

async fn requests_without_one_good_key_are_refused(place: Place) {
    let server = Server::start(&place, &Settings::default()).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "good").await;
    let other = ada.create_key(&server, "also good").await;
    let mut connection = Connection::open(server.address()).await.unwrap();
    let data = || Call::post("/api/v1/data", &json!({ "source": "curiosity" }));
    let mut ask = async |call: Call| connection.send(call).await.unwrap();

    let missing = ask(data()).await;
    missing.problem(401, "missing_api_key");
    assert!(missing.header("www-authenticate").starts_with("Bearer"));
    ask(data().key("")).await.problem(401, "missing_api_key");

    let mut wrong = Vec::new();
    for text in wrong_keys(&key) {
        let by_header = ask(data().key(&text)).await;
        by_header.problem(401, "invalid_api_key");
        wrong.push(without_id(&by_header));
        let by_bearer = ask(data().bearer(&text)).await;
        by_bearer.problem(401, "invalid_api_key");
        wrong.push(without_id(&by_bearer));
    }
    wrong.dedup();
    assert_eq!(wrong.len(), 1, "wrong keys look alike from outside: {wrong:?}");

    for ambiguous in [
        data().key(&key.text).key(&key.text),
        data().key(&key.text).key(&other.text),
        data().key(&key.text).bearer(&other.text),
        data().key(&key.text).bearer(&key.text),
        data().bearer(&key.text).bearer(&other.text),
    ] {
        assert_eq!(
            ask(ambiguous).await.problem(400, "unreadable_api_key")["status"],
            400
        );
    }
    // An access token is no key, and a key is no access token.
    ask(data().bearer(&ada.access_token))
        .await
        .problem(401, "invalid_api_key");
    let create = Call::post("/api/v1/keys", &json!({ "name": "by a key" })).bearer(&key.text);
    assert!([401, 403].contains(&ask(create).await.status));
    assert_eq!(ada.keys(&server).await.len(), 2);

    let good = ask(data().key(&key.text)).await;
    assert_eq!(
        (good.status, good.number("x-ratelimit-used")),
        (200, 1),
        "nothing before was charged"
    );
    server.stop().await;
    assert_eq!(Ledger::read(&place).await.charged(), 1);
}

/// Texts that are no key, each for another reason.
fn wrong_keys(key: &Key) -> Vec<String> {
    let text = &key.text;
    let (last, head) = (text.chars().last().unwrap(), &text[..text.len() - 1]);
    let bad_checksum = format!("{head}{}", if last == 'a' { 'b' } else { 'a' });
    vec![
        bad_checksum,
        // Well-formed, but nobody's. Its checksum is right.
        "hm_live_0123456789ABCDEFGHIJKLMNOPQRSTUVW3pPOh0".to_owned(),
        head.to_owned(),
        format!("{text}{text}"),
        text.to_uppercase(),
        text.replacen("_live_", "_test_", 1),
        "hm_".to_owned(),
        "x".repeat(4_000),
        "' OR '1'='1".to_owned(),
        "hm_live_'; DROP TABLE api_keys;--".to_owned(),
        "../../etc/passwd".to_owned(),
    ]
}

fn without_id(answer: &Answer) -> Value {
    let mut problem = answer.json();
    problem["requestId"] = Value::Null;
    problem
}
