//! Well-formed HTTP that asks for something impossible: a clear refusal, and nothing half done.

use hm_system_tests::http::{Answer, Call};
use hm_system_tests::ledger::people_and_keys;
use hm_system_tests::on_every_database;
use hm_system_tests::people::{Key, PASSWORD, Person};
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use http::Method;
use serde_json::json;

const JSON: &str = "application/json";

on_every_database! {
    nothing_is_half_done => nothing_is_half_done_on_sqlite, nothing_is_half_done_on_postgres, nothing_is_half_done_on_mariadb;
    sql_in_texts_is_just_text => sql_in_texts_is_just_text_on_sqlite, sql_in_texts_is_just_text_on_postgres, sql_in_texts_is_just_text_on_mariadb;
}

/// What is wrong with an answer that should be a problem document with one of these statuses.
fn fault(answer: &Answer, statuses: &[u16]) -> Option<&'static str> {
    let code = answer.code();
    if !statuses.contains(&answer.status) {
        return Some("another status was expected");
    }
    if code.is_empty() {
        return Some("there is no problem document with a code");
    }
    answer.problem(answer.status, &code);
    None
}

async fn nothing_is_half_done(place: Place) {
    let server = Server::start(&place, &Settings::free_plan(1_000_000, 1_000_000)).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "the only one").await;
    let before = people_and_keys(&place).await;
    let cases = [bodies(&ada), queries(&ada, &key), routes(&ada, &key)].concat();
    let mut faults = Vec::new();
    for (what, call, statuses) in cases {
        let answer = server.call(call).await;
        if let Some(fault) = fault(&answer, statuses) {
            faults.push(format!("{what}: {fault}: {} {}", answer.status, answer.text()));
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert_eq!(people_and_keys(&place).await, before, "people and keys");
    let listed = ada.keys(&server).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["name"], "the only one");
    server.call(Call::curiosity(&key.text)).await.expect(200);
    server.stop().await;
}

type Case = (&'static str, Call, &'static [u16]);

/// Bodies for calls that would make something.
fn bodies(ada: &Person) -> Vec<Case> {
    let keys = |body: Vec<u8>| {
        Call::new(Method::POST, "/api/v1/keys")
            .body(JSON, body)
            .bearer(&ada.access_token)
    };
    let register = |body: &str| Call::new(Method::POST, "/api/v1/auth/register").body(JSON, body.to_owned());
    let long_name = json!({ "name": "x".repeat(100_000) }).to_string();
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
    vec![
        ("no body", keys(Vec::new()), &[400]),
        ("malformed JSON", keys(b"{\"name\": \"x\"".to_vec()), &[400]),
        (
            "something after the JSON",
            keys(b"{\"name\": \"x\"} {\"name\": \"y\"}".to_vec()),
            &[400],
        ),
        ("bad UTF-8", keys(b"{\"name\": \"\xff\xfe\"}".to_vec()), &[400]),
        (
            "half a surrogate",
            keys(b"{\"name\": \"\\ud800\"}".to_vec()),
            &[400],
        ),
        ("deep nesting", keys(deep.into_bytes()), &[400, 422]),
        ("a list", keys(b"[{\"name\": \"x\"}]".to_vec()), &[422]),
        ("a number for a name", keys(b"{\"name\": 5}".to_vec()), &[422]),
        ("null for a name", keys(b"{\"name\": null}".to_vec()), &[422]),
        ("no name", keys(b"{}".to_vec()), &[422]),
        ("an empty name", keys(b"{\"name\": \" \"}".to_vec()), &[422]),
        (
            "a name twice",
            keys(b"{\"name\": \"x\", \"name\": \"y\"}".to_vec()),
            &[422],
        ),
        (
            "a NUL in a name",
            keys(b"{\"name\": \"a\\u0000b\"}".to_vec()),
            &[422],
        ),
        (
            "an unknown field",
            keys(b"{\"name\": \"x\", \"isAdmin\": true}".to_vec()),
            &[422],
        ),
        (
            "an unknown environment",
            keys(b"{\"name\": \"x\", \"env\": \"prod\"}".to_vec()),
            &[422],
        ),
        (
            "a key that has expired",
            keys(b"{\"name\": \"x\", \"expiresAt\": \"2001-01-01T00:00:00Z\"}".to_vec()),
            &[422],
        ),
        (
            "no time",
            keys(b"{\"name\": \"x\", \"expiresAt\": \"tomorrow\"}".to_vec()),
            &[422],
        ),
        ("a body over the limit", keys(long_name.into_bytes()), &[413]),
        (
            "a body that is not called JSON",
            Call::new(Method::POST, "/api/v1/keys")
                .body("text/plain", "{\"name\":\"x\"}")
                .bearer(&ada.access_token),
            &[415],
        ),
        (
            "no address",
            register(r#"{"email":"nobody","password":"long enough"}"#),
            &[422],
        ),
        (
            "a short password",
            register(r#"{"email":"bob@example.org","password":"short"}"#),
            &[422],
        ),
        ("no password", register(r#"{"email":"bob@example.org"}"#), &[422]),
        (
            "a role",
            register(r#"{"email":"bob@example.org","password":"long enough","role":"admin"}"#),
            &[422],
        ),
        (
            "an address that is taken",
            register(&format!(
                r#"{{"email":"ADA@example.org","password":"{PASSWORD}"}}"#
            )),
            &[409],
        ),
    ]
}

/// Questions to the data and usage routes, and page cursors.
fn queries(ada: &Person, key: &Key) -> Vec<Case> {
    let data = |body: &str| {
        Call::new(Method::POST, "/api/v1/data")
            .body(JSON, body.to_owned())
            .key(&key.text)
    };
    let get = |path: &str| Call::get(path).key(&key.text);
    let list = |path: &str| Call::get(path).bearer(&ada.access_token);
    vec![
        ("no source", data("{}"), &[422]),
        (
            "a source of another type",
            data(r#"{"source":["curiosity"]}"#),
            &[422],
        ),
        (
            "an unknown source",
            data(r#"{"source":"oracle"}"#),
            &[400, 404, 422],
        ),
        (
            "a source that is a path",
            data(r#"{"source":"../../etc/passwd"}"#),
            &[400, 404, 422],
        ),
        (
            "a query of another type",
            data(r#"{"source":"curiosity","query":{"a":1}}"#),
            &[422],
        ),
        (
            "a query that is too long",
            data(&json!({ "source": "curiosity", "query": "x".repeat(2_000) }).to_string()),
            &[400, 422],
        ),
        (
            "an unknown field of data",
            data(r#"{"source":"curiosity","units":-5}"#),
            &[422],
        ),
        ("malformed JSON for data", data(r#"{"source":"#), &[400]),
        ("no source in a query", get("/api/v1/data"), &[400, 422]),
        (
            "an unknown source in a query",
            get("/api/v1/data?source=oracle"),
            &[400, 404, 422],
        ),
        (
            "bad UTF-8 in a query",
            get("/api/v1/data?source=curiosity&query=%ff%fe"),
            &[400, 422],
        ),
        (
            "a limit that is a word",
            list("/api/v1/usage?limit=many"),
            &[400, 422],
        ),
        (
            "a limit below nothing",
            list("/api/v1/usage?limit=-1"),
            &[400, 422],
        ),
        ("a limit of nothing", list("/api/v1/usage?limit=0"), &[400, 422]),
        (
            "a limit beyond numbers",
            list("/api/v1/usage?limit=99999999999999999999"),
            &[400, 422],
        ),
        (
            "a cursor of SQL",
            list("/api/v1/usage?cursor='%20OR%201=1--"),
            &[400, 422],
        ),
        (
            "a cursor of keys of SQL",
            list("/api/v1/keys?cursor='%20OR%201=1--"),
            &[400, 422],
        ),
        (
            "a cursor of bad UTF-8",
            list("/api/v1/keys?cursor=%ff%fe"),
            &[400, 422],
        ),
    ]
}

/// Paths and methods that are not there.
fn routes(ada: &Person, key: &Key) -> Vec<Case> {
    let get = |path: &str| Call::get(path).bearer(&ada.access_token);
    let call = |method: Method, path: &str| Call::new(method, path).bearer(&ada.access_token);
    let own = format!("/api/v1/keys/{}", key.id);
    vec![
        ("an unknown path", get("/api/v1/nothing"), &[404]),
        ("an unknown version", get("/api/v9/keys"), &[404]),
        ("the root's neighbour", get("/.env"), &[404]),
        (
            "an unknown method",
            call(Method::from_bytes(b"BREW").unwrap(), "/api/v1/keys"),
            &[404, 405, 501],
        ),
        (
            "a method that is not served",
            call(Method::PUT, "/api/v1/keys"),
            &[405],
        ),
        ("another one", call(Method::DELETE, "/api/v1/data"), &[405]),
        ("TRACE", call(Method::TRACE, "/api/v1/keys"), &[404, 405]),
        (
            "an id that is none",
            call(Method::DELETE, "/api/v1/keys/1%20OR%201=1"),
            &[400, 404, 422],
        ),
        (
            "an id of bad UTF-8",
            call(Method::DELETE, "/api/v1/keys/%ff%fe"),
            &[400, 404, 422],
        ),
        (
            "an id of nobody's",
            call(
                Method::DELETE,
                "/api/v1/keys/01989898-9898-7898-9898-989898989898",
            ),
            &[404],
        ),
        ("a dot segment", get("/api/v1/../v1/keys"), &[400, 404]),
        (
            "a path out of the pages",
            get("/docs/../../../../../../etc/passwd"),
            &[400, 404],
        ),
        (
            "the same, hidden",
            get("/docs/..%2f..%2f..%2f..%2f..%2fetc/passwd"),
            &[400, 404],
        ),
        (
            "the same, hidden better",
            get("/docs/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
            &[400, 404],
        ),
        (
            "the same, twice hidden",
            get("/docs/%252e%252e%252f%252e%252e%252fetc/passwd"),
            &[400, 404],
        ),
        (
            "with backslashes",
            get("/docs/..%5c..%5cetc%5cpasswd"),
            &[400, 404],
        ),
        ("a NUL in a path", get("/api/v1/keys%00"), &[400, 404]),
        ("a key without a token", Call::delete(&own), &[401]),
        (
            "a key with a made-up token",
            Call::delete(&own).bearer("e30.e30.e30"),
            &[401],
        ),
        (
            "a key with an unsigned token",
            Call::delete(&own).bearer(&unsigned(&ada.access_token)),
            &[401],
        ),
        (
            "no bearer",
            Call::delete(&own).header("authorization", "Basic YWRhOmxvdmVsYWNl"),
            &[401],
        ),
    ]
}

/// The claims of a token under a header that says that there is no signature.
fn unsigned(token: &str) -> String {
    let claims = token.split('.').nth(1).expect("a token has claims");
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

async fn sql_in_texts_is_just_text(place: Place) {
    let server = Server::start(&place, &Settings::default()).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let names = [
        "Robert'); DROP TABLE api_keys;--",
        "\" OR \"\"=\"",
        "1; UPDATE users SET tier = 'enterprise' WHERE 1=1; --",
        "${jndi:ldap://127.0.0.1/a} {{7*7}} <script>alert(1)</script>",
        "名前 \u{202e} 🔑",
    ];
    for name in names {
        ada.create_key(&server, name).await;
    }
    let mut listed: Vec<_> = ada
        .keys(&server)
        .await
        .iter()
        .map(|key| key["name"].as_str().unwrap().to_owned())
        .collect();
    listed.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(listed, expected);
    let injected = json!({ "email": "ada@example.org' --", "password": "whatever it is" });
    server
        .call(Call::post("/api/v1/auth/login", &injected))
        .await
        .problem(401, "invalid_credentials");
    assert_eq!(ada.usage(&server).await["tier"], "free");
    server.stop().await;
}
