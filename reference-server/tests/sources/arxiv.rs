use serde_json::json;
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{answering, bad_answer, config, results, sources};

const FEED: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom">
  <link href="http://arxiv.org/api/query?search_query%3Dall:tides" rel="self" type="application/atom+xml"/>
  <title type="html">ArXiv Query: search_query=all:tides</title>
  <id>http://arxiv.org/api/abcdef</id>
  <updated>2026-03-01T00:00:00-05:00</updated>
  <opensearch:totalResults>2</opensearch:totalResults>
  <entry>
    <id>http://arxiv.org/abs/2601.01234v2</id>
    <updated>2026-01-20T18:00:00Z</updated>
    <published>2026-01-05T17:59:59Z</published>
    <title>On the tides of
  small &amp; distant moons</title>
    <summary>  We show that $a &lt; b$ holds
  for all moons.
    </summary>
    <author><name>Example One</name><arxiv:affiliation>Somewhere</arxiv:affiliation></author>
    <author><name>Example Zw&#246;lf</name></author>
    <arxiv:comment>12 pages</arxiv:comment>
    <link href="http://arxiv.org/abs/2601.01234v2" rel="alternate" type="text/html"/>
    <link title="pdf" href="http://arxiv.org/pdf/2601.01234v2" rel="related" type="application/pdf"/>
    <arxiv:primary_category term="astro-ph.EP" scheme="http://arxiv.org/schemas/atom"/>
    <category term="astro-ph.EP" scheme="http://arxiv.org/schemas/atom"/>
    <category term="physics.geo-ph" scheme="http://arxiv.org/schemas/atom"/>
  </entry>
  <entry>
    <id>http://arxiv.org/abs/hep-th/9901001v1</id>
    <title>An older paper</title>
    <link href="javascript:alert(1)" rel="alternate" type="text/html"/>
  </entry>
</feed>"#;

#[tokio::test]
async fn papers_are_found_with_authors_and_links() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/api/query"))
        .and(query_param("search_query", r#"all:"moon" AND all:"tides""#))
        .and(query_param("start", "0"))
        .and(query_param("max_results", "10"))
        .respond_with(ResponseTemplate::new(200).set_body_raw(FEED, "application/atom+xml"))
        .expect(1)
        .mount(&server)
        .await;
    let answer = sources(&config(&server.uri()))
        .answer("arxiv", Some("moon tides"), None)
        .await
        .unwrap();
    assert_eq!(
        results(&answer),
        json!([
            {
                "title": "On the tides of small & distant moons",
                "url": "http://arxiv.org/abs/2601.01234v2",
                "summary": "We show that $a < b$ holds for all moons.",
                "publishedAt": "2026-01-05T17:59:59Z",
                "updatedAt": "2026-01-20T18:00:00Z",
                "authors": ["Example One", "Example Zwölf"],
                "categories": ["astro-ph.EP", "physics.geo-ph"],
                "pdfUrl": "http://arxiv.org/pdf/2601.01234v2",
            },
            {
                "title": "An older paper",
                "url": "http://arxiv.org/abs/hep-th/9901001v1",
                "updatedAt": null,
                "authors": [],
                "categories": [],
            },
        ])
    );
}

#[tokio::test]
async fn an_entity_bomb_does_no_harm() {
    let mut declared = String::from(r#"<!ENTITY e0 "ha">"#);
    for n in 1..60 {
        let previous = n - 1;
        declared.push_str(&format!(r#"<!ENTITY e{n} "&e{previous};&e{previous};">"#));
    }
    let bomb = format!("<!DOCTYPE feed [{declared}]><feed><entry><title>&e59;</title></entry></feed>");
    let (_server, sources) = answering("/api/query", &bomb).await;
    assert_eq!(
        bad_answer(sources.answer("arxiv", Some("x"), None).await),
        "a feed with a document type"
    );
}

#[tokio::test]
async fn an_error_feed_is_a_bad_answer() {
    let feed = r#"<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>https://arxiv.org/api/errors#incorrect_id_format</id>
        <title>Error</title><summary>incorrect id format</summary></entry></feed>"#;
    let (_server, sources) = answering("/api/query", feed).await;
    assert_eq!(
        bad_answer(sources.answer("arxiv", Some("x"), None).await),
        "an error in place of papers"
    );
}

#[tokio::test]
async fn a_query_without_words_is_refused_before_it_is_asked() {
    let (server, sources) = answering("/api/query", FEED).await;
    let error = sources.answer("arxiv", Some("\"():-"), None).await.unwrap_err();
    assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_query"));
    assert!(server.received_requests().await.unwrap().is_empty());
}
