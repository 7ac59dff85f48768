//! Refreshing, signing out, and tokens that are not what they seem.

use std::time::Duration;

use hm_metering_seaorm::testing::TestDatabase;
use serde_json::json;

use crate::harness::{PASSWORD, Person, Server};

#[tokio::test]
async fn a_refresh_token_is_exchanged_for_new_tokens() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    server.clock.advance(Duration::from_secs(901));
    server
        .get("/api/v1/me")
        .token(&ada.access_token)
        .send()
        .await
        .problem(401, "invalid_token");
    let answer = server.refresh(&ada.refresh_token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refreshed = Person::from(answer.json());
    assert_eq!(refreshed.json["user"], ada.json["user"]);
    assert_ne!(refreshed.refresh_token, ada.refresh_token);
    assert_eq!(
        server
            .get("/api/v1/me")
            .token(&refreshed.access_token)
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_refresh_token_used_again_ends_the_session() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let elsewhere = Person::from(server.login("ada@example.org", PASSWORD).await.json());
    let refreshed = Person::from(server.refresh(&ada.refresh_token).await.json());
    server
        .refresh(&ada.refresh_token)
        .await
        .problem(401, "invalid_refresh_token");
    server
        .refresh(&refreshed.refresh_token)
        .await
        .problem(401, "invalid_refresh_token");
    server
        .get("/api/v1/me")
        .token(&refreshed.access_token)
        .send()
        .await
        .problem(401, "invalid_token");
    let other = server
        .get("/api/v1/me")
        .token(&elsewhere.access_token)
        .send()
        .await;
    assert_eq!(other.status, 200, "another session of the same person goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_refresh_at_once_one_wins_and_the_session_ends() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let server = Server::on(database.url(), "").await;
        for round in 0..10 {
            let ada = server.register(&format!("ada{round}@example.org")).await;
            let calls = (0..4).map(|_| server.refresh(&ada.refresh_token));
            let answers = futures_util::future::join_all(calls).await;
            let winners: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
            assert_eq!(winners.len(), 1, "round {round} on {:?}", server.app);
            for loser in answers.iter().filter(|answer| answer.status != 200) {
                loser.problem(401, "invalid_refresh_token");
            }
            let winner = Person::from(winners[0].json());
            server
                .refresh(&winner.refresh_token)
                .await
                .problem(401, "invalid_refresh_token");
        }
        server.app.shutdown().await.unwrap();
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_session_that_is_not_refreshed_ends_by_itself() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    server.clock.advance(Duration::from_secs(2_592_000));
    server
        .refresh(&ada.refresh_token)
        .await
        .problem(401, "invalid_refresh_token");
}

#[tokio::test]
async fn signing_out_ends_the_session_at_once() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let answer = server
        .poke("/api/v1/auth/logout")
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    server
        .get("/api/v1/me")
        .token(&ada.access_token)
        .send()
        .await
        .problem(401, "invalid_token");
    server
        .refresh(&ada.refresh_token)
        .await
        .problem(401, "invalid_refresh_token");
    let again = server
        .poke("/api/v1/auth/logout")
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(again.status, 204);
}

#[tokio::test]
async fn a_refresh_token_is_enough_to_sign_out() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let body = json!({ "refreshToken": ada.refresh_token });
    assert_eq!(server.post("/api/v1/auth/logout", &body).send().await.status, 204);
    server
        .get("/api/v1/me")
        .token(&ada.access_token)
        .send()
        .await
        .problem(401, "invalid_token");
    let unknown = json!({ "refreshToken": format!("hmr_{}", "0".repeat(64)) });
    assert_eq!(
        server.post("/api/v1/auth/logout", &unknown).send().await.status,
        204
    );
    server
        .poke("/api/v1/auth/logout")
        .send()
        .await
        .problem(401, "missing_token");
}

#[tokio::test]
async fn signing_out_everywhere_ends_all_sessions_of_one_person() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let eve = server.register("eve@example.org").await;
    let elsewhere = Person::from(server.login("ada@example.org", PASSWORD).await.json());
    let answer = server
        .poke("/api/v1/auth/logout-all")
        .token(&ada.access_token)
        .send()
        .await;
    assert_eq!(answer.status, 204);
    for token in [&ada.access_token, &elsewhere.access_token] {
        server
            .get("/api/v1/me")
            .token(token)
            .send()
            .await
            .problem(401, "invalid_token");
    }
    assert_eq!(
        server
            .get("/api/v1/me")
            .token(&eve.access_token)
            .send()
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn the_oldest_session_makes_room_for_the_newest() {
    let server = Server::with("[auth]\nmax_sessions = 2").await;
    let first = server.register("ada@example.org").await;
    server.clock.advance(Duration::from_secs(1));
    let second = Person::from(server.login("ada@example.org", PASSWORD).await.json());
    server.clock.advance(Duration::from_secs(1));
    let third = Person::from(server.login("ada@example.org", PASSWORD).await.json());
    server
        .get("/api/v1/me")
        .token(&first.access_token)
        .send()
        .await
        .problem(401, "invalid_token");
    for person in [&second, &third] {
        assert_eq!(
            server
                .get("/api/v1/me")
                .token(&person.access_token)
                .send()
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn garbage_is_not_a_refresh_token() {
    let server = Server::start().await;
    for garbage in ["", "x", "hmr_", &"hmr_0".repeat(1000), "' OR 1=1 --"] {
        server
            .refresh(garbage)
            .await
            .problem(401, "invalid_refresh_token");
    }
}

#[tokio::test]
async fn an_access_token_must_be_whole_and_alone() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let token = &ada.access_token;
    let challenge = server.get("/api/v1/me").send().await;
    challenge.problem(401, "missing_token");
    assert!(challenge.header("www-authenticate").starts_with("Bearer"));
    for wrong in [
        &token[..token.len() - 2],
        &format!("x{token}"),
        "a.b.c",
        &"x".repeat(5000),
    ] {
        let answer = server.get("/api/v1/me").token(wrong).send().await;
        answer.problem(401, "invalid_token");
        assert!(
            answer
                .header("www-authenticate")
                .contains("error=\"invalid_token\"")
        );
    }
    let basic = server
        .get("/api/v1/me")
        .header("authorization", "Basic YTpi")
        .send()
        .await;
    basic.problem(401, "invalid_token");
    let two = server.get("/api/v1/me").token(token).token(token).send().await;
    two.problem(400, "ambiguous_credentials");
}
