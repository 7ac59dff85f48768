//! API keys.

use std::time::Duration;

use hm_metering_seaorm::entity::{MemberRole, audit_entry, membership};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use serde_json::{Value, json};

use crate::harness::{Person, Server};

#[tokio::test]
async fn a_key_is_shown_once_and_listed_without_itself() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let body = json!({
        "name": " CI '); DROP TABLE api_keys;-- ",
        "scopes": ["data:read", "a", "a"],
        "env": "test",
        "expiresAt": "2027-01-01T00:00:00+01:00",
        "metadata": { "team": "blue" },
    });
    let answer = server
        .post("/api/v1/keys", &body)
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("hm_test_") && key.len() == 47, "{key}");
    assert!(key.starts_with(made["prefix"].as_str().unwrap()));
    assert!(key.ends_with(made["last4"].as_str().unwrap()));
    assert_eq!(made["name"], "CI '); DROP TABLE api_keys;--");
    assert_eq!(made["scopes"], json!(["a", "data:read"]));
    assert_eq!(made["expiresAt"], "2026-12-31T23:00:00Z");
    assert_eq!(made["createdAt"], "2026-11-22T12:00:00Z");

    let list = server.get("/api/v1/keys").token(&ada.access_token).send().await;
    assert!(!list.text().contains(key));
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("key");
    assert_eq!(list.json(), json!({ "data": [expected], "nextCursor": null }));
    for field in [
        "id",
        "name",
        "prefix",
        "last4",
        "env",
        "scopes",
        "isActive",
        "createdAt",
        "lastUsed",
        "expiresAt",
    ] {
        assert!(expected.get(field).is_some(), "{field}");
    }
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(
        server.get(&path).token(&ada.access_token).send().await.json(),
        expected
    );
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    assert_eq!(server.ask(&key.key).await.status, 200);
    let path = format!("/api/v1/keys/{}", key.id);
    for _ in 0..2 {
        let answer = server.delete(&path).token(&ada.access_token).send().await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        server.ask(&key.key).await.problem(401, "invalid_api_key");
        server.clock.advance(Duration::from_secs(1));
    }
    let json = server.get(&path).token(&ada.access_token).send().await.json();
    assert_eq!(json["isActive"], false);
    assert_eq!(
        json["revokedAt"], "2026-11-22T12:00:00Z",
        "the second time changes nothing"
    );
    let patch = json!({ "isActive": true });
    server
        .patch(&path, &patch)
        .token(&ada.access_token)
        .send()
        .await
        .problem(409, "key_revoked");
    let rotate = server
        .poke(&format!("{path}/rotate"))
        .token(&ada.access_token)
        .send()
        .await;
    rotate.problem(409, "key_revoked");
}

#[tokio::test]
async fn another_accounts_key_looks_like_none() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let eve = server.register("eve@example.org").await;
    let key = server.key_of(&ada).await;
    let nowhere = "/api/v1/keys/0198c0de-0000-7000-8000-000000000000".to_owned();
    let foreign = format!("/api/v1/keys/{}", key.id);
    for path in [
        &foreign,
        &nowhere,
        "/api/v1/keys/garbage",
        "/api/v1/keys/'%20OR%201=1",
    ] {
        server
            .get(path)
            .token(&eve.access_token)
            .send()
            .await
            .problem(404, "not_found");
        server
            .delete(path)
            .token(&eve.access_token)
            .send()
            .await
            .problem(404, "not_found");
        let patch = server.patch(path, &json!({ "name": "mine" }));
        patch
            .token(&eve.access_token)
            .send()
            .await
            .problem(404, "not_found");
        let rotate = server
            .poke(&format!("{path}/rotate"))
            .token(&eve.access_token)
            .send()
            .await;
        rotate.problem(404, "not_found");
    }
    assert_eq!(server.ask(&key.key).await.status, 200);
    let list = server
        .get("/api/v1/keys")
        .token(&eve.access_token)
        .send()
        .await
        .json();
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn a_key_is_switched_off_and_on_and_renamed() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    assert_eq!(server.ask(&key.key).await.status, 200);
    let path = format!("/api/v1/keys/{}", key.id);
    let patch = async |body: Value| server.patch(&path, &body).token(&ada.access_token).send().await;
    assert_eq!(
        patch(json!({ "isActive": false })).await.json()["isActive"],
        false
    );
    server.ask(&key.key).await.problem(401, "invalid_api_key");
    assert_eq!(
        patch(json!({ "isActive": true, "name": "other" })).await.json()["name"],
        "other"
    );
    assert_eq!(server.ask(&key.key).await.status, 200);
    let end = patch(json!({ "expiresAt": "2026-11-22T12:00:01Z" })).await.json();
    assert_eq!(end["expiresAt"], "2026-11-22T12:00:01Z");
    server.clock.advance(Duration::from_secs(1));
    server.ask(&key.key).await.problem(401, "invalid_api_key");
    assert_eq!(
        patch(json!({ "expiresAt": null })).await.json()["expiresAt"],
        Value::Null
    );
    assert_eq!(server.ask(&key.key).await.status, 200);
    patch(json!({ "expiresAt": "2026-11-22T12:00:01Z" }))
        .await
        .problem(422, "invalid_request");
}

#[tokio::test]
async fn an_old_key_works_until_the_overlap_ends() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let old = server.key_of(&ada).await;
    assert_eq!(server.ask(&old.key).await.status, 200);
    let path = format!("/api/v1/keys/{}/rotate", old.id);
    let body = json!({ "overlapSeconds": 60 });
    let answer = server.post(&path, &body).token(&ada.access_token).send().await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let new = answer.json();
    assert_ne!(new["id"], old.id);
    assert_eq!(new["name"], "test");
    let new_key = new["key"].as_str().unwrap();
    assert_eq!(server.ask(&old.key).await.status, 200);
    assert_eq!(server.ask(new_key).await.status, 200);
    server.clock.advance(Duration::from_secs(60));
    server.ask(&old.key).await.problem(401, "invalid_api_key");
    assert_eq!(server.ask(new_key).await.status, 200);
    let body = json!({ "overlapSeconds": 2_592_001 });
    server
        .post(&path, &body)
        .token(&ada.access_token)
        .send()
        .await
        .problem(422, "invalid_request");
}

#[tokio::test]
async fn keys_come_in_pages_newest_first() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    for number in 0..5 {
        let body = json!({ "name": format!("key {number}") });
        assert_eq!(
            server
                .post("/api/v1/keys", &body)
                .token(&ada.access_token)
                .send()
                .await
                .status,
            201
        );
        server.clock.advance(Duration::from_secs(1));
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/keys?limit=2".to_owned();
    loop {
        let page = server.get(&path).token(&ada.access_token).send().await.json();
        names.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["name"].clone()),
        );
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/api/v1/keys?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(names, ["key 4", "key 3", "key 2", "key 1", "key 0"]);
    for wrong in [
        "limit=0",
        "limit=201",
        "limit=many",
        "limit=-1",
        "cursor=garbage",
        "cursor=%00",
    ] {
        let answer = server
            .get(&format!("/api/v1/keys?{wrong}"))
            .token(&ada.access_token)
            .send()
            .await;
        answer.problem(422, "invalid_request");
    }
}

#[tokio::test]
async fn what_makes_no_sense_makes_no_key() {
    let server = Server::with("[keys]\nmax_per_account = 1").await;
    let ada = server.register("ada@example.org").await;
    let long = "x".repeat(101);
    let facts: serde_json::Map<_, _> = (0..17).map(|number| (format!("f{number}"), json!("x"))).collect();
    for (body, field) in [
        (json!({}), "name"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": long }), "name"),
        (json!({ "name": "x", "scopes": ["two words"] }), "scopes"),
        (json!({ "name": "x", "scopes": "data" }), "scopes"),
        (json!({ "name": "x", "scopes": vec!["a"; 33] }), "scopes"),
        (json!({ "name": "x", "env": "staging" }), "env"),
        (json!({ "name": "x", "expiresAt": "tomorrow" }), "expiresAt"),
        (
            json!({ "name": "x", "expiresAt": "2020-01-01T00:00:00Z" }),
            "expiresAt",
        ),
        (json!({ "name": "x", "expiresAt": 5 }), "expiresAt"),
        (json!({ "name": "x", "metadata": { "a": 5 } }), "metadata"),
        (json!({ "name": "x", "metadata": facts }), "metadata"),
        (json!({ "name": "x", "key": "hm_live_mine" }), "key"),
        (json!({ "name": "x", "ipAllow": "203.0.113.0/24" }), "ipAllow"),
        (json!({ "name": "x", "ipAllow": ["203.0.113.0/33"] }), "ipAllow"),
        (json!({ "name": "x", "ipAllow": ["example.org"] }), "ipAllow"),
        (json!({ "name": "x", "ipAllow": [""] }), "ipAllow"),
        (
            json!({ "name": "x", "ipAllow": vec!["203.0.113.1"; 65] }),
            "ipAllow",
        ),
        (json!({ "name": "x", "rateLimit": { "limit": 0 } }), "rateLimit"),
        (
            json!({ "name": "x", "rateLimit": { "limit": 1, "burst": 0 } }),
            "rateLimit",
        ),
        (
            json!({ "name": "x", "rateLimit": { "limit": 1, "perSeconds": 0 } }),
            "rateLimit",
        ),
        (
            json!({ "name": "x", "rateLimit": { "limit": 1, "perSeconds": 86_401 } }),
            "rateLimit",
        ),
        (json!({ "name": "x", "quota": { "limit": 0 } }), "quota"),
        (json!({ "name": "x", "quota": 5 }), "quota"),
        (json!({ "name": "x", "quota": { "limit": -1 } }), "quota"),
        (
            json!({ "name": "x", "quota": { "limit": 1, "period": "fortnight" } }),
            "quota",
        ),
    ] {
        let answer = server
            .post("/api/v1/keys", &body)
            .token(&ada.access_token)
            .send()
            .await;
        let problem = answer.problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    let list = server
        .get("/api/v1/keys")
        .token(&ada.access_token)
        .send()
        .await
        .json();
    assert_eq!(list["data"], json!([]));
    let key = server.key_of(&ada).await;
    let another = server
        .post("/api/v1/keys", &json!({ "name": "x" }))
        .token(&ada.access_token);
    another.send().await.problem(409, "limit_reached");
    let gone = server
        .delete(&format!("/api/v1/keys/{}", key.id))
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(gone.status, 204);
    server.key_of(&ada).await;
}

#[tokio::test]
async fn keys_are_for_people_who_are_signed_in_and_may() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    server
        .get("/api/v1/keys")
        .send()
        .await
        .problem(401, "missing_token");
    server
        .get("/api/v1/keys")
        .header("x-api-key", &key.key)
        .send()
        .await
        .problem(401, "missing_token");
    server
        .get("/api/v1/keys")
        .token(&key.key)
        .send()
        .await
        .problem(401, "invalid_token");
    become_viewer(&server, &ada).await;
    assert_eq!(
        server
            .get("/api/v1/keys")
            .token(&ada.access_token)
            .send()
            .await
            .status,
        200
    );
    let path = format!("/api/v1/keys/{}", key.id);
    let body = json!({ "name": "x" });
    server
        .post("/api/v1/keys", &body)
        .token(&ada.access_token)
        .send()
        .await
        .problem(403, "insufficient_role");
    server
        .patch(&path, &body)
        .token(&ada.access_token)
        .send()
        .await
        .problem(403, "insufficient_role");
    server
        .delete(&path)
        .token(&ada.access_token)
        .send()
        .await
        .problem(403, "insufficient_role");
    let rotate = server
        .poke(&format!("{path}/rotate"))
        .token(&ada.access_token)
        .send()
        .await;
    rotate.problem(403, "insufficient_role");
    assert_eq!(server.ask(&key.key).await.status, 200);
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_only() {
    let server = Server::with("[http]\ntrusted_proxies = [\"10.0.0.0/8\"]").await;
    let ada = server.register("ada@example.org").await;
    let body = json!({ "name": "office", "ipAllow": ["203.0.113.7/24", "2001:db8::1"] });
    let answer = server
        .post("/api/v1/keys", &body)
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    assert_eq!(made["ipAllow"], json!(["203.0.113.0/24", "2001:db8::1/128"]));
    let (key, path) = (
        made["key"].as_str().unwrap().to_owned(),
        format!("/api/v1/keys/{}", made["id"].as_str().unwrap()),
    );
    for route in ["/api/v1/data?source=curiosity", "/api/v1/usage"] {
        let ask = |client: &str| server.get(route).header("x-api-key", &key).from(client);
        for allowed in ["203.0.113.200", "2001:db8::1"] {
            assert_eq!(ask(allowed).send().await.status, 200, "{route} {allowed}");
        }
        for refused in ["198.51.100.1", "2001:db8::2", "127.0.0.1"] {
            ask(refused).send().await.problem(403, "address_not_allowed");
        }
        let forwarded = |client: &str, peer: &str| ask(peer).header("x-forwarded-for", client);
        assert_eq!(forwarded("203.0.113.9", "10.0.0.1").send().await.status, 200);
        forwarded("203.0.113.9", "198.51.100.1")
            .send()
            .await
            .problem(403, "address_not_allowed");
    }
    let patch = json!({ "ipAllow": [] });
    let answer = server.patch(&path, &patch).token(&ada.access_token).send().await;
    assert_eq!((answer.status, &answer.json()["ipAllow"]), (200, &json!([])));
    assert_eq!(server.ask(&key).await.status, 200);
}

#[tokio::test]
async fn a_key_has_a_quota_of_its_own() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let other = server.key_of(&ada).await;
    let body = json!({ "name": "small", "quota": { "limit": 2 } });
    let answer = server
        .post("/api/v1/keys", &body)
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let quota = json!({ "limit": 2, "period": "month" });
    assert_eq!(made["quota"], quota);
    assert_eq!(made["rateLimit"], Value::Null);
    let key = made["key"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    for used in ["1", "2"] {
        let served = server.ask(&key).await;
        assert_eq!((served.status, served.header("x-ratelimit-used")), (200, used));
    }
    for _ in 0..3 {
        let refused = server.ask(&key).await;
        let problem = refused.problem(429, "quota_exceeded");
        assert_eq!(problem["violated-policies"], json!(["key-month"]));
        // The account's month is as it was.
        let headers = ["limit", "used", "remaining"]
            .map(|name| refused.header(&format!("x-ratelimit-{name}")).to_owned());
        assert_eq!(headers, ["1000", "2", "998"]);
        assert!(refused.header("retry-after").parse::<u64>().unwrap() > 86_400);
    }
    assert_eq!(server.ask(&other.key).await.header("x-ratelimit-used"), "3");

    // A higher limit holds at once and what was used stays; the rate can be changed without the quota, and the other way round.
    let patch = async |body: Value| server.patch(&path, &body).token(&ada.access_token).send().await;
    let rate = json!({ "limit": 100, "perSeconds": 1, "burst": 100 });
    assert_eq!(patch(json!({ "rateLimit": rate })).await.json()["quota"], quota);
    let raised = json!({ "limit": 3, "period": "month" });
    let patched = patch(json!({ "quota": raised })).await.json();
    assert_eq!((&patched["quota"], &patched["rateLimit"]), (&raised, &rate));
    assert_eq!(server.ask(&key).await.status, 200);
    server.ask(&key).await.problem(429, "quota_exceeded");
    patch(json!({ "quota": { "limit": 0 } }))
        .await
        .problem(422, "invalid_request");

    // A replacement has the same quota, with nothing used.
    let rotated = server
        .poke(&format!("{path}/rotate"))
        .token(&ada.access_token)
        .send()
        .await
        .json();
    assert_eq!(rotated["quota"], raised);
    let path = format!("/api/v1/keys/{}", rotated["id"].as_str().unwrap());
    let key = rotated["key"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        assert_eq!(server.ask(&key).await.status, 200);
    }
    server.ask(&key).await.problem(429, "quota_exceeded");
    let none = server
        .patch(&path, &json!({ "quota": null }))
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(none.json()["quota"], Value::Null);
    assert_eq!(server.ask(&key).await.status, 200);
}

#[tokio::test]
async fn a_key_has_a_rate_of_its_own() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let other = server.key_of(&ada).await;
    let body = json!({ "name": "slow", "rateLimit": { "limit": 2, "perSeconds": 3600 } });
    let answer = server
        .post("/api/v1/keys", &body)
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json();
    let rate = json!({ "limit": 2, "perSeconds": 3600, "burst": 2 });
    assert_eq!(made["rateLimit"], rate);
    let key = made["key"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    for _ in 0..2 {
        assert_eq!(server.ask(&key).await.status, 200);
    }
    let refused = server.ask(&key).await;
    assert_eq!(
        refused.problem(429, "rate_limited")["violated-policies"],
        json!(["key"])
    );
    assert_eq!(refused.header("retry-after"), "1800");
    assert_eq!(server.ask(&other.key).await.status, 200);

    // A replacement has the same rate and networks, and state of its own.
    let rotated = server
        .poke(&format!("{path}/rotate"))
        .token(&ada.access_token)
        .send()
        .await
        .json();
    assert_eq!(rotated["rateLimit"], rate);
    let path = format!("/api/v1/keys/{}", rotated["id"].as_str().unwrap());
    let key = rotated["key"].as_str().unwrap().to_owned();
    let patch = async |body: Value| server.patch(&path, &body).token(&ada.access_token).send().await;
    assert_eq!(patch(json!({ "name": "same" })).await.json()["rateLimit"], rate);
    for _ in 0..2 {
        assert_eq!(server.ask(&key).await.status, 200);
    }
    server.ask(&key).await.problem(429, "rate_limited");
    patch(json!({ "rateLimit": { "limit": 5, "burst": 0 } }))
        .await
        .problem(422, "invalid_request");
    assert_eq!(
        patch(json!({ "rateLimit": null })).await.json()["rateLimit"],
        Value::Null
    );
    assert_eq!(server.ask(&key).await.status, 200);
}

async fn become_viewer(server: &Server, person: &Person) {
    let user: uuid::Uuid = person.json["user"]["id"].as_str().unwrap().parse().unwrap();
    membership::Entity::update_many()
        .col_expr(membership::Column::Role, Expr::value(MemberRole::Viewer))
        .filter(membership::Column::UserId.eq(user))
        .exec(server.app.database().writer())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_happens_to_a_key_is_in_the_audit_log() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let path = format!("/api/v1/keys/{}", key.id);
    let patch = json!({ "name": "renamed" });
    assert_eq!(
        server
            .patch(&path, &patch)
            .token(&ada.access_token)
            .send()
            .await
            .status,
        200
    );
    for _ in 0..2 {
        assert_eq!(
            server.delete(&path).token(&ada.access_token).send().await.status,
            204
        );
    }
    let log = audit_entry::Entity::find()
        .filter(audit_entry::Column::SubjectKind.eq("key"))
        .order_by_asc(audit_entry::Column::Id)
        .all(server.app.database().reader())
        .await
        .unwrap();
    let actions: Vec<_> = log.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["key.create", "key.update", "key.revoke"]);
    assert!(
        log.iter()
            .all(|entry| entry.subject_id == key.id && entry.request_id.is_some())
    );
    assert_eq!(log[1].before, Some(json!({ "name": "test" })));
    assert_eq!(log[1].after, Some(json!({ "name": "renamed" })));
    assert!(!format!("{log:?}").contains(&key.key));
}
