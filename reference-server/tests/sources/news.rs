use serde_json::json;
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{answering, bad_answer, config, results, sources};

const HITS: &str = r#"{
  "exhaustive": {"nbHits": true}, "exhaustiveNbHits": true, "hitsPerPage": 10, "nbHits": 3, "nbPages": 1, "page": 0,
  "query": "rust", "processingTimeMS": 3,
  "hits": [
    {"_highlightResult": {"title": {"value": "<em>Rust</em> 2", "matchLevel": "full"}}, "_tags": ["story", "story_101"],
     "author": "example", "children": [102], "created_at": "2026-02-03T04:05:06Z", "created_at_i": 1770091506,
     "num_comments": 12, "objectID": "101", "points": 345, "story_id": 101,
     "title": "Why a < b in Rust", "updated_at": "2026-02-04T00:00:00Z", "url": "https://example.org/rust?a=1&b=2"},
    {"author": "example", "created_at": "2026-02-01T00:00:00.000Z", "objectID": "99", "points": null, "num_comments": null,
     "story_text": "<p>What do you use?</p><p>I&#x27;m <i>curious</i>.", "title": "Ask: tools?", "url": null},
    {"author": "example", "created_at": "2026-02-01T00:00:00Z", "objectID": "98", "title": null, "url": null},
    {"author": "example", "created_at": "2026-02-01T00:00:00Z", "objectID": "97", "title": "A trap", "url": "javascript:alert(1)"}
  ]
}"#;

#[tokio::test]
async fn stories_are_found_with_their_discussion() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/api/v1/search"))
        .and(query_param("query", "rust"))
        .and(query_param("tags", "story"))
        .and(query_param("hitsPerPage", "10"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(HITS, "application/json"))
        .expect(1)
        .mount(&server)
        .await;
    let answer = sources(&config(&server.uri()))
        .answer("news", Some("rust"), None)
        .await
        .unwrap();
    assert_eq!(
        results(&answer),
        json!([
            {
                "title": "Why a < b in Rust",
                "url": "https://example.org/rust?a=1&b=2",
                "publishedAt": "2026-02-03T04:05:06Z",
                "author": "example", "points": 345, "comments": 12,
                "discussionUrl": "https://news.ycombinator.com/item?id=101",
            },
            {
                "title": "Ask: tools?",
                "url": "https://news.ycombinator.com/item?id=99",
                "summary": "What do you use? I'm curious.",
                "publishedAt": "2026-02-01T00:00:00Z",
                "author": "example", "points": null, "comments": null,
                "discussionUrl": "https://news.ycombinator.com/item?id=99",
            },
            {
                "title": "A trap",
                "url": "https://news.ycombinator.com/item?id=97",
                "publishedAt": "2026-02-01T00:00:00Z",
                "author": "example", "points": null, "comments": null,
                "discussionUrl": "https://news.ycombinator.com/item?id=97",
            },
        ])
    );
}

#[tokio::test]
async fn a_story_number_that_is_none_is_a_bad_answer() {
    for id in ["", "1&x=y", "../../x", "123456789012345678901"] {
        let body = json!({"hits": [{"objectID": id, "title": "t", "created_at": "2026-02-01T00:00:00Z"}]})
            .to_string();
        let (_server, sources) = answering("/api/v1/search", &body).await;
        assert_eq!(
            bad_answer(sources.answer("news", Some("x"), None).await),
            "a story without a number"
        );
    }
}

#[tokio::test]
async fn an_impossible_time_is_a_bad_answer() {
    let body = r#"{"hits":[{"objectID":"1","title":"t","created_at":"yesterday"}]}"#;
    let (_server, sources) = answering("/api/v1/search", body).await;
    bad_answer(sources.answer("news", Some("x"), None).await);
}
