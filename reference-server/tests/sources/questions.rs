use hm_server::sources::{QueryFault, SourceError};
use wiremock::{MockServer, ResponseTemplate};

use crate::harness::{LIVE, config, serve, sources};

/// Under which parameter each source sends the query.
const PARAMETERS: [&str; 4] = ["srsearch", "search_query", "query", "name"];

/// What the upstream of a source reads under the parameter of the query, and how many parameters it reads.
async fn received(nth: usize, query: &str) -> (String, usize) {
    let (source, path, body) = LIVE[nth];
    let server = MockServer::start().await;
    serve(&server, path, ResponseTemplate::new(200).set_body_string(body)).await;
    sources(&config(&server.uri()))
        .answer(source, Some(query), None)
        .await
        .unwrap();
    let requests = server.received_requests().await.unwrap();
    let url = &requests[0].url;
    assert_eq!((requests.len(), url.path(), url.fragment()), (1, path, None));
    let read: Vec<String> = url
        .query_pairs()
        .filter(|(name, _)| name == PARAMETERS[nth])
        .map(|(_, value)| value.into_owned())
        .collect();
    assert_eq!(read.len(), 1);
    (read[0].clone(), url.query_pairs().count())
}

#[tokio::test]
async fn a_query_cannot_add_parameters_or_leave_its_place() {
    for nth in [0, 2, 3] {
        let (_, plain) = received(nth, "word").await;
        for query in [
            "a&limit=500&format=xml",
            "a#b",
            "a?b=c",
            "../../etc",
            "100% %00 %26",
            "a+b",
            "http://[::1]/",
            "a;b=c",
        ] {
            assert_eq!(received(nth, query).await, (query.to_owned(), plain));
        }
    }
}

#[tokio::test]
async fn a_query_cannot_use_the_query_language_of_arxiv() {
    let (_, plain) = received(1, "word").await;
    let (read, parameters) = received(1, "a&max_results=5000 OR (cat:x) \"y#").await;
    assert_eq!(
        read,
        r#"all:"a&max_results=5000" AND all:"OR" AND all:"cat" AND all:"x" AND all:"y#""#
    );
    assert_eq!(parameters, plain);
}

#[tokio::test]
async fn a_query_of_any_script_arrives_as_it_was_written() {
    for query in [
        "Zürich",
        "東京",
        "مكة",
        "🦀 crab",
        "İstanbul ı",
        "e\u{301}te\u{301}",
    ] {
        for nth in [0, 2, 3] {
            assert_eq!(received(nth, query).await.0, query);
        }
    }
    assert_eq!(received(1, "東京 é").await.0, r#"all:"東京" AND all:"é""#);
}

#[tokio::test]
async fn a_query_that_cannot_be_asked_never_reaches_an_upstream() {
    let server = MockServer::start().await;
    let sources = sources(&config(&server.uri()));
    let long = "x".repeat(257);
    for (source, _, _) in LIVE {
        for (query, fault) in [
            (None, QueryFault::Missing),
            (Some(""), QueryFault::Empty),
            (Some(" \t "), QueryFault::Empty),
            (Some("a\nb"), QueryFault::ControlCharacter),
            (Some("a\r\nHost: x"), QueryFault::ControlCharacter),
            (Some("a\0b"), QueryFault::ControlCharacter),
            (Some("a\u{85}b"), QueryFault::ControlCharacter),
            (Some(long.as_str()), QueryFault::TooLong),
        ] {
            let error = sources.answer(source, query, None).await.unwrap_err();
            assert!(
                matches!(error, SourceError::InvalidQuery(told) if told == fault),
                "{query:?}: {error:?}"
            );
            assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_query"));
        }
        let error = sources.answer(source, Some("word"), Some(26)).await.unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (422, "invalid_limit"));
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_source_is_refused() {
    let sources = sources(&config("http://127.0.0.1:9"));
    for name in ["", "Wiki", "wiki ", "wikipedia", "../wiki", "http://127.0.0.1/"] {
        let error = sources.answer(name, Some("word"), None).await.unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.code()),
            (422, "unknown_source"),
            "{name}"
        );
    }
}
