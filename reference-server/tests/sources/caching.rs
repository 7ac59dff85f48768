use std::time::Duration;

use hm_server::sources::Sources;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{LIVE, StillClock, config, serve};

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

async fn wiki() -> MockServer {
    let server = MockServer::start().await;
    serve(
        &server,
        "/w/api.php",
        ResponseTemplate::new(200).set_body_string(LIVE[0].2),
    )
    .await;
    server
}

#[tokio::test]
async fn a_second_same_question_is_answered_without_the_upstream() {
    for (source, at, body) in LIVE {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path(at))
            .respond_with(ResponseTemplate::new(200).set_body_string(body))
            .expect(1)
            .mount(&server)
            .await;
        let sources = Sources::new(&config(&server.uri()), StillClock::new()).unwrap();
        assert!(!sources.answer(source, Some("word"), None).await.unwrap().cached);
        assert!(
            sources
                .answer(source, Some(" word "), Some(10))
                .await
                .unwrap()
                .cached
        );
    }
}

#[tokio::test]
async fn a_kept_answer_ends_with_its_time() {
    let server = wiki().await;
    let clock = StillClock::new();
    let sources = Sources::new(&config(&server.uri()), clock.clone()).unwrap();
    sources.answer("wiki", Some("word"), None).await.unwrap();
    clock.advance(Duration::from_millis(299_999));
    assert!(sources.answer("wiki", Some("word"), None).await.unwrap().cached);
    clock.advance(Duration::from_millis(1));
    assert!(!sources.answer("wiki", Some("word"), None).await.unwrap().cached);
    assert_eq!(requests(&server).await, 2);
}

#[tokio::test]
async fn another_query_or_limit_is_another_question() {
    let server = wiki().await;
    let sources = Sources::new(&config(&server.uri()), StillClock::new()).unwrap();
    for (query, limit) in [("word", 10), ("Word", 10), ("word", 9)] {
        assert!(
            !sources
                .answer("wiki", Some(query), Some(limit))
                .await
                .unwrap()
                .cached
        );
    }
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn no_more_answers_are_kept_than_allowed() {
    let server = wiki().await;
    let clock = StillClock::new();
    let mut config = config(&server.uri());
    config.cache_entries = 2;
    let sources = Sources::new(&config, clock.clone()).unwrap();
    for query in ["one", "two", "three"] {
        sources.answer("wiki", Some(query), None).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    assert!(sources.answer("wiki", Some("three"), None).await.unwrap().cached);
    assert!(sources.answer("wiki", Some("two"), None).await.unwrap().cached);
    assert!(!sources.answer("wiki", Some("one"), None).await.unwrap().cached);
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let server = MockServer::start().await;
    Mock::given(path("/w/api.php"))
        .respond_with(ResponseTemplate::new(500))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    serve(
        &server,
        "/w/api.php",
        ResponseTemplate::new(200).set_body_string(LIVE[0].2),
    )
    .await;
    let sources = Sources::new(&config(&server.uri()), StillClock::new()).unwrap();
    sources.answer("wiki", Some("word"), None).await.unwrap_err();
    assert!(!sources.answer("wiki", Some("word"), None).await.unwrap().cached);
}

#[tokio::test]
async fn a_cache_that_is_switched_off_keeps_nothing() {
    let server = wiki().await;
    let mut config = config(&server.uri());
    config.cache_ttl_s = 0;
    let sources = Sources::new(&config, StillClock::new()).unwrap();
    for _ in 0..2 {
        assert!(!sources.answer("wiki", Some("word"), None).await.unwrap().cached);
    }
    assert_eq!(requests(&server).await, 2);
}
