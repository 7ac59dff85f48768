//! Tokens at the door of a metered service.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::convert::Infallible;
use std::time::Duration;

use example_jwt_verifier::JwtVerifier;
use hm_metering::testing::TestClock;
use hm_metering::{MemoryStore, Meter, Plans, Timestamp};
use http::{Request, Response};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, encode};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

/// 25 November 2026, in seconds.
const NOW: i64 = 1_795_600_000;

fn token(secret: &[u8], claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn claims() -> Value {
    json!({
        "sub": "01929ae6-7a0c-7cc1-a8a5-8d5dbcbf7a10",
        "aud": "facts",
        "plan": "free",
        "exp": NOW + 60,
        "scope": "facts:read other",
    })
}

async fn status(meter: &Meter, token: &str) -> u16 {
    let facts = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = meter.layer("facts").require_scope("facts:read").layer(facts);
    let request = Request::get("/fact").header("authorization", format!("Bearer {token}"));
    service
        .oneshot(request.body(()).unwrap())
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn a_token_is_accepted_until_it_expires() {
    let clock = TestClock::at(Timestamp::from_micros(NOW * 1_000_000));
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_audience(&["facts"]);
    // A claim that is not required is only looked at where it is there.
    rules.set_required_spec_claims(&["aud", "exp", "sub"]);
    let meter = Meter::builder(JwtVerifier::new(
        DecodingKey::from_secret(b"the provider's"),
        rules,
    ))
    .plans(Plans::from_toml("[free]\nquotas = [{ meter = 'requests', limit = 2, period = 'day' }]").unwrap())
    .quota(MemoryStore::new())
    .usage(MemoryStore::new())
    .clock(clock.clone())
    .start()
    .await
    .unwrap();

    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        token(b"the provider's", &claims)
    };
    assert_eq!(status(&meter, &token(b"somebody else's", &claims())).await, 401);
    assert_eq!(status(&meter, "eyJ.not.a-token").await, 401);
    assert_eq!(status(&meter, &with("aud", json!("others"))).await, 401);
    assert_eq!(status(&meter, &with("aud", Value::Null)).await, 401);
    assert_eq!(status(&meter, &with("exp", json!(NOW))).await, 401);
    assert_eq!(status(&meter, &with("exp", json!(i64::MAX))).await, 401);
    assert_eq!(status(&meter, &with("scope", json!("other"))).await, 403);

    // Two tokens of one account share its quota.
    let (first, second) = (with("exp", json!(NOW + 60)), with("exp", json!(NOW + 61)));
    assert_eq!(status(&meter, &first).await, 200);
    assert_eq!(status(&meter, &second).await, 200);
    assert_eq!(status(&meter, &first).await, 429);
    clock.advance(Duration::from_secs(60));
    assert_eq!(status(&meter, &first).await, 401);
    assert_eq!(status(&meter, &second).await, 429);
}
