//! What an account has used.

use hm_metering::{KeyEnv, KeyFormat};
use hm_server::metrics::Metrics;
use serde_json::{Value, json};

use crate::harness::Server;

#[tokio::test]
async fn usage_is_fresh_and_shaped_as_promised() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    assert_eq!(server.ask(&key.key).await.status, 200);
    let usage = server.usage(&ada).await;
    let mut expected = json!({
        "userId": ada.json["user"]["id"],
        "accountId": ada.json["account"]["id"],
        "tier": "free",
        "quota": 1000,
        "used": 1,
        "remaining": 999,
        "resetDate": "2026-12-22T00:00:00Z",
        "periodStart": "2026-11-22T00:00:00Z",
        "requests": [{
            "timestamp": "2026-11-22T12:00:00Z",
            "endpoint": "/api/v1/data",
            "method": "GET",
            "source": "curiosity",
            "responseTime": 0.0,
            "status": 200,
            "keyId": key.id,
            "units": 1,
        }],
        "nextCursor": null,
    });
    assert_eq!(usage, expected);
    for _ in 0..3 {
        assert_eq!(server.ask(&key.key).await.status, 200);
    }
    let by_key = server
        .get("/api/v1/usage")
        .header("x-api-key", &key.key)
        .send()
        .await
        .json();
    expected["used"] = json!(4);
    expected["remaining"] = json!(996);
    expected["requests"] = by_key["requests"].clone();
    assert_eq!(by_key, expected);
    assert_eq!(
        by_key["requests"].as_array().unwrap().len(),
        4,
        "reading usage costs nothing and is not listed"
    );
    let by_bearer = server.get("/api/v1/usage").token(&key.key).send().await.json();
    assert_eq!(by_bearer, by_key);
}

#[tokio::test]
async fn a_key_that_reads_usage_is_looked_up_once_and_strangers_have_a_budget() {
    let (recorder, metrics) = Metrics::new().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = Server::measured(metrics).await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let read = async |key: &str| server.get("/api/v1/usage").header("x-api-key", key).send().await;
    for _ in 0..20 {
        assert_eq!(read(&key.key).await.status, 200);
    }
    let text = server.get("/metrics").send().await.text();
    assert!(
        text.contains("hm_metering_fills_total{result=\"accepted\"} 1\n"),
        "{text}"
    );
    let mut turned_away = 0;
    for _ in 0..600 {
        let unknown = KeyFormat::default().generate(KeyEnv::Live).unwrap();
        let answer = read(unknown.expose()).await;
        match answer.status {
            401 => drop(answer.problem(401, "invalid_api_key")),
            _ => {
                answer.problem(503, "temporarily_unavailable");
                assert_eq!(answer.header("retry-after"), "1");
                turned_away += 1;
            }
        }
    }
    assert_eq!(
        turned_away,
        600 - 512,
        "the clock stands still, so nothing flows back"
    );
    assert_eq!(
        read(&key.key).await.status,
        200,
        "those who are known notice nothing"
    );
}

#[tokio::test]
async fn requests_come_in_pages() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    for _ in 0..5 {
        server.ask(&key.key).await;
        server.clock.advance(std::time::Duration::from_secs(1));
    }
    let first = server
        .get("/api/v1/usage?limit=3")
        .token(&ada.access_token)
        .send()
        .await
        .json();
    let cursor = first["nextCursor"].as_str().unwrap();
    let path = format!("/api/v1/usage?limit=3&cursor={cursor}");
    let second = server.get(&path).token(&ada.access_token).send().await.json();
    let times: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|page| page["requests"].as_array().unwrap())
        .map(|request| request["timestamp"].as_str().unwrap())
        .collect();
    assert_eq!(times.len(), 5);
    assert!(times.is_sorted_by(|a, b| a > b), "{times:?}");
    assert_eq!(
        (second["used"].clone(), second["nextCursor"].clone()),
        (json!(5), Value::Null)
    );
}

#[tokio::test]
async fn nobody_sees_the_usage_of_others() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let eve = server.register("eve@example.org").await;
    let key = server.key_of(&ada).await;
    server.ask(&key.key).await;
    let usage = server.usage(&eve).await;
    assert_eq!(
        (usage["used"].clone(), usage["requests"].clone()),
        (json!(0), json!([]))
    );
}

#[tokio::test]
async fn an_unlimited_plan_has_no_quota_and_still_counts() {
    let server = Server::with("[plans.free]\nrequests_per_month = \"unlimited\"").await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    let answer = server.ask(&key.key).await;
    assert_eq!(answer.header("x-ratelimit-limit"), "unlimited");
    let usage = server.usage(&ada).await;
    assert_eq!(
        (&usage["quota"], &usage["remaining"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(usage["used"], 1);
}

#[tokio::test]
async fn usage_needs_one_credential_that_counts() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    server
        .get("/api/v1/usage")
        .send()
        .await
        .problem(401, "missing_token");
    let both = server
        .get("/api/v1/usage")
        .token(&ada.access_token)
        .header("x-api-key", &key.key);
    both.send().await.problem(400, "ambiguous_credentials");
    let two = server
        .get("/api/v1/usage")
        .header("x-api-key", &key.key)
        .header("x-api-key", &key.key);
    two.send().await.problem(400, "ambiguous_credentials");
    for wrong in ["hm_live_x", "garbage", ""] {
        let answer = server
            .get("/api/v1/usage")
            .header("x-api-key", wrong)
            .send()
            .await;
        answer.problem(401, "invalid_api_key");
    }
    let revoke = server
        .delete(&format!("/api/v1/keys/{}", key.id))
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(revoke.status, 204);
    let answer = server
        .get("/api/v1/usage")
        .header("x-api-key", &key.key)
        .send()
        .await;
    answer.problem(401, "invalid_api_key");
}
