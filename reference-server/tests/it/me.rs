//! The person who asks.

use hm_metering_seaorm::entity::audit_entry;
use sea_orm::{EntityTrait, QueryOrder};
use serde_json::{Value, json};

use crate::harness::Server;

#[tokio::test]
async fn a_person_sees_who_they_are() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let json = server
        .get("/api/v1/me")
        .token(&ada.access_token)
        .send()
        .await
        .json();
    assert_eq!(json["email"], "ada@example.org");
    assert_eq!(json["account"]["tier"], "free");
    let head = server.head("/api/v1/me").token(&ada.access_token).send().await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_person_changes_their_name() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let patch = |body: Value| server.patch("/api/v1/me", &body).token(&ada.access_token).send();
    assert_eq!(
        patch(json!({ "name": " Countess " })).await.json()["name"],
        "Countess"
    );
    let json = server
        .get("/api/v1/me")
        .token(&ada.access_token)
        .send()
        .await
        .json();
    assert_eq!(json["name"], "Countess");
    assert_eq!(patch(json!({})).await.json()["name"], "Countess");
    patch(json!({ "name": "" })).await.problem(422, "invalid_request");
    patch(json!({ "role": "admin" }))
        .await
        .problem(422, "invalid_request");
    patch(json!({ "name": 5 })).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn changes_are_in_the_audit_log_without_secrets() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    let body = json!({ "name": "Countess" });
    let call = server
        .patch("/api/v1/me", &body)
        .token(&ada.access_token)
        .header("x-request-id", "req-1");
    assert_eq!(call.send().await.status, 200);
    let log = audit_entry::Entity::find().order_by_asc(audit_entry::Column::Id);
    let log = log.all(server.app.database().reader()).await.unwrap();
    let actions: Vec<_> = log.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["account.open", "user.update"]);
    let update = &log[1];
    assert_eq!(update.actor_id.unwrap().to_string(), ada.json["user"]["id"]);
    assert_eq!(update.account_id.unwrap().to_string(), ada.json["account"]["id"]);
    assert_eq!(update.request_id.as_deref(), Some("req-1"));
    assert_eq!(update.before, Some(json!({ "name": "Ada" })));
    assert_eq!(update.after, Some(json!({ "name": "Countess" })));
    let all = format!("{log:?}");
    assert!(!all.contains("argon2") && !all.contains(&ada.refresh_token));
}
