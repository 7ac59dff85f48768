//! What holds for every request.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn an_unknown_path_is_a_problem_document() {
    let server = Server::start().await;
    for path in [
        "/",
        "/nowhere",
        "/api/v1",
        "/api/v1/me/nowhere",
        "/api/v1/auth",
        "/docs/../secrets.toml",
    ] {
        server.get(path).send().await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_wrong_method_is_a_problem_document_that_says_which_are_right() {
    let server = Server::start().await;
    let answer = server.get("/api/v1/auth/login").send().await;
    answer.problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    let answer = server.delete("/api/v1/me").send().await;
    answer.problem(405, "method_not_allowed");
    for method in ["GET", "HEAD", "PATCH"] {
        assert!(
            answer.header("allow").contains(method),
            "{}",
            answer.header("allow")
        );
    }
}

#[tokio::test]
async fn every_answer_has_the_name_of_its_request() {
    let server = Server::start().await;
    let given = server
        .get("/healthz")
        .header("x-request-id", "my-request-1")
        .send()
        .await;
    assert_eq!(given.header("x-request-id"), "my-request-1");
    let one = server
        .get("/healthz")
        .send()
        .await
        .header("x-request-id")
        .to_owned();
    let two = server
        .get("/nowhere")
        .send()
        .await
        .header("x-request-id")
        .to_owned();
    assert_ne!(one, two);
    assert_eq!(uuid::Uuid::parse_str(&one).unwrap().get_version_num(), 7);
    let long = "x".repeat(129);
    for strange in ["a b", &long, "\u{e9}"] {
        let answer = server
            .get("/healthz")
            .header("x-request-id", strange)
            .send()
            .await;
        assert!(uuid::Uuid::parse_str(answer.header("x-request-id")).is_ok());
    }
}

#[tokio::test]
async fn browsers_are_told_to_be_careful() {
    let server = Server::start().await;
    for path in ["/healthz", "/nowhere"] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'")
        );
    }
}

#[tokio::test]
async fn the_server_says_how_it_is() {
    let server = Server::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.get(path).send().await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ok" })));
        let head = server.head(path).send().await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
    server.app.shutdown().await.unwrap();
    assert_eq!(server.get("/healthz").send().await.status, 200);
    let problem = server.get("/readyz").send().await.problem(503, "not_ready");
    assert!(!problem.to_string().to_lowercase().contains("pool"), "{problem}");
}

#[tokio::test]
async fn without_its_database_the_server_answers_all_the_same() {
    let server = Server::start().await;
    let ada = server.register("ada@example.org").await;
    server.app.shutdown().await.unwrap();
    let answer = server.get("/api/v1/me").token(&ada.access_token).send().await;
    answer.problem(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn the_openapi_document_describes_every_route() {
    let server = Server::start().await;
    let api = server.get("/openapi.json").send().await.json();
    assert!(api["openapi"].as_str().unwrap().starts_with("3."), "{api}");
    let expected = [
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
        ("/api/v1/auth/register", "post"),
        ("/api/v1/auth/login", "post"),
        ("/api/v1/auth/refresh", "post"),
        ("/api/v1/auth/logout", "post"),
        ("/api/v1/auth/logout-all", "post"),
        ("/api/v1/me", "get"),
        ("/api/v1/me", "patch"),
        ("/api/v1/keys", "get"),
        ("/api/v1/keys", "post"),
        ("/api/v1/keys/{key_id}", "get"),
        ("/api/v1/keys/{key_id}", "patch"),
        ("/api/v1/keys/{key_id}", "delete"),
        ("/api/v1/keys/{key_id}/rotate", "post"),
        ("/api/v1/keys/verify", "post"),
        ("/api/v1/usage", "get"),
        ("/api/v1/data", "get"),
        ("/api/v1/data", "post"),
    ];
    for (path, method) in expected {
        assert!(
            api["paths"][path][method].is_object(),
            "{method} {path} is not described"
        );
    }
    let register = &api["paths"]["/api/v1/auth/register"]["post"];
    assert!(register["responses"]["201"].is_object(), "{register}");
    assert!(
        register["responses"]["default"]["content"]["application/problem+json"].is_object(),
        "{register}"
    );
    assert!(
        register["requestBody"]["content"]["application/json"]["schema"].is_object(),
        "{register}"
    );
    assert!(api["paths"]["/api/v1/me"]["get"]["security"].is_array());
    assert!(api["components"]["securitySchemes"]["accessToken"].is_object());
    let text = api.to_string();
    let broken: Vec<_> = text
        .split("\"$ref\":\"#/components/schemas/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|name| !api["components"]["schemas"][*name].is_object())
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test]
async fn the_page_to_try_it_needs_nothing_from_elsewhere() {
    let server = Server::start().await;
    let page = server.get("/docs").send().await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );
    let text = page.text();
    assert!(!text.contains("http://") && !text.contains("https://"), "{text}");
    for file in [
        "/docs/docs.js",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
    ] {
        assert!(text.contains(file) || file == "/docs/docs.js", "{file}");
        let answer = server.get(file).send().await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(!answer.body.is_empty(), "{file}");
    }
    server
        .get("/docs/nothing.js")
        .send()
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn pages_of_other_origins_may_call_the_api_if_the_settings_say_so() {
    let server = Server::with("[http]\nallowed_origins = [\"https://app.example.com\"]").await;
    let preflight = |origin: &'static str| {
        let call = server.options("/api/v1/auth/login").header("origin", origin);
        call.header("access-control-request-method", "POST").send()
    };
    let allowed = preflight("https://app.example.com").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "https://app.example.com"
    );
    assert!(
        allowed
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    let foreign = preflight("https://evil.example.com").await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    let simple = server
        .get("/healthz")
        .header("origin", "https://app.example.com")
        .send()
        .await;
    assert_eq!(
        simple.header("access-control-allow-origin"),
        "https://app.example.com"
    );
    assert_eq!(simple.header("vary"), "origin");
}
