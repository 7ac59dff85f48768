//! Nothing secret is ever in the log, however much is logged.

use hm_system_tests::http::Call;
use hm_system_tests::on_every_database;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use serde_json::json;

const ADMIN_KEY: &str = "admin-6Pj2Wn8Rb4Yt0Ks5Zm1Xc7Lh3Df9Ge";

on_every_database! {
    the_most_talkative_log_has_no_secret => the_most_talkative_log_has_no_secret_on_sqlite, the_most_talkative_log_has_no_secret_on_postgres, the_most_talkative_log_has_no_secret_on_mariadb;
}

async fn the_most_talkative_log_has_no_secret(place: Place) {
    let settings = Settings::default()
        .variable("RUST_LOG", "trace")
        .variable("ADMIN_KEY", ADMIN_KEY);
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let again = Person::log_in(&server, "ada@example.org").await;
    let refresh = Call::post(
        "/api/v1/auth/refresh",
        &json!({ "refreshToken": again.refresh_token }),
    );
    let fresh = server.call(refresh.clone()).await.expect(200);
    server.keep_secret(fresh["refreshToken"].as_str().unwrap());
    assert_eq!(
        server.call(refresh).await.status,
        401,
        "a refresh token is good once"
    );
    let guess = "hunter2-is-not-the-password";
    server.keep_secret(guess);
    let body = json!({ "email": "ada@example.org", "password": guess });
    server
        .call(Call::post("/api/v1/auth/login", &body))
        .await
        .problem(401, "invalid_credentials");
    // A mistake in the body must not bring the password into the log by way of a message.
    let body = json!({ "email": "ada@example.org", "password": guess, "pasword": guess });
    server
        .call(Call::post("/api/v1/auth/login", &body))
        .await
        .problem(422, "invalid_request");
    let body = format!("{{\"email\":\"ada@example.org\",\"password\":\"{guess}\"");
    let broken = Call::post("/api/v1/auth/login", &json!(null)).body("application/json", body);
    assert!((400..500).contains(&server.call(broken).await.status));

    let key = ada.create_key(&server, "whispered").await;
    server.call(Call::curiosity(&key.text)).await.expect(200);
    server
        .call(Call::get("/api/v1/usage").bearer(&key.text))
        .await
        .expect(200);
    // A key where it does not belong: in the query, in a name, with a typing mistake.
    let path = format!("/api/v1/data?source=curiosity&api_key={}", key.text);
    assert!((400..500).contains(&server.call(Call::get(&path)).await.status));
    let mut mistyped = key.text.clone();
    mistyped.push('x');
    server
        .call(Call::curiosity(&mistyped))
        .await
        .problem(401, "invalid_api_key");
    let revoke = Call::delete(&format!("/api/v1/keys/{}", key.id)).bearer(&ada.access_token);
    assert_eq!(server.call(revoke).await.status, 204);
    server
        .call(Call::curiosity(&key.text))
        .await
        .problem(401, "invalid_api_key");
    for path in ["/readyz", "/openapi.json", "/docs"] {
        let answer = server
            .call(Call::get(path).header("x-admin-key", ADMIN_KEY))
            .await;
        assert_eq!(answer.status, 200, "{path}");
    }
    assert!(
        server.log().text().lines().count() > 20,
        "the log is there to be looked at"
    );
    server.stop().await;
}
