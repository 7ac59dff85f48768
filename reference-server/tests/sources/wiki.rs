use serde_json::json;
use wiremock::matchers::{header, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{answering, bad_answer, config, results, sources};

const FOUND: &str = r#"{
  "batchcomplete": true,
  "continue": {"sroffset": 2, "continue": "-||"},
  "query": {
    "searchinfo": {"totalhits": 3124},
    "search": [
      {"ns": 0, "title": "Red panda", "pageid": 1, "wordcount": 6874, "timestamp": "2026-02-11T08:15:30Z",
       "snippet": "The <span class=\"searchmatch\">red</span> <span class=\"searchmatch\">panda</span> (Ailurus fulgens) lives in &quot;temperate&quot; forests &amp; bamboo"},
      {"ns": 0, "title": "C++/CLI", "pageid": 2, "size": 5, "added": {"later": true}}
    ]
  }
}"#;

#[tokio::test]
async fn articles_are_found_with_plain_text_and_links() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/w/api.php"))
        .and(query_param("action", "query"))
        .and(query_param("list", "search"))
        .and(query_param("format", "json"))
        .and(query_param("srsearch", "red panda"))
        .and(query_param("srlimit", "5"))
        .and(header(
            "user-agent",
            concat!("hm-server/", env!("CARGO_PKG_VERSION")),
        ))
        .respond_with(ResponseTemplate::new(200).set_body_raw(FOUND, "application/json"))
        .expect(1)
        .mount(&server)
        .await;
    let answer = sources(&config(&server.uri()))
        .answer("wiki", Some(" red panda "), Some(5))
        .await
        .unwrap();
    assert_eq!(
        (answer.source, answer.query.as_deref(), answer.cached),
        ("wiki", Some("red panda"), false)
    );
    assert_eq!(
        results(&answer),
        json!([
            {
                "title": "Red panda",
                "url": format!("{}/wiki/Red_panda", server.uri()),
                "summary": "The red panda (Ailurus fulgens) lives in \"temperate\" forests & bamboo",
                "updatedAt": "2026-02-11T08:15:30Z",
                "words": 6874,
            },
            { "title": "C++/CLI", "url": format!("{}/wiki/C++%2FCLI", server.uri()), "updatedAt": null, "words": null },
        ])
    );
}

#[tokio::test]
async fn more_articles_than_asked_for_are_cut_off() {
    let (_server, sources) = answering("/w/api.php", FOUND).await;
    assert_eq!(
        sources
            .answer("wiki", Some("red panda"), Some(1))
            .await
            .unwrap()
            .results
            .len(),
        1
    );
}

#[tokio::test]
async fn an_error_of_the_site_is_a_bad_answer() {
    let (_server, sources) = answering(
        "/w/api.php",
        r#"{"error":{"code":"ratelimited","info":"slow down"}}"#,
    )
    .await;
    assert_eq!(
        bad_answer(sources.answer("wiki", Some("x"), None).await),
        "unexpected JSON"
    );
}

#[tokio::test]
async fn an_article_without_a_title_is_a_bad_answer() {
    for search in [r#"{"title":" "}"#, r#"{"pageid":1}"#, r#"{"title":7}"#] {
        let body = format!(r#"{{"query":{{"search":[{search}]}}}}"#);
        let (_server, sources) = answering("/w/api.php", &body).await;
        bad_answer(sources.answer("wiki", Some("x"), None).await);
    }
}

#[tokio::test]
async fn a_site_may_live_under_a_path() {
    let server = MockServer::start().await;
    crate::harness::serve(
        &server,
        "/mirror/w/api.php",
        ResponseTemplate::new(200).set_body_string(FOUND),
    )
    .await;
    let sources = sources(&config(&format!("{}/mirror", server.uri())));
    let answer = sources.answer("wiki", Some("x"), None).await.unwrap();
    assert_eq!(
        answer.results[0].url.clone().unwrap(),
        format!("{}/mirror/wiki/Red_panda", server.uri())
    );
}
