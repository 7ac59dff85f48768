use std::time::Duration;

use hm_server::sources::{Health, SourceError, SourceStatus, Sources};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::{MockServer, ResponseTemplate};

use crate::harness::{LIVE, answering, bad_answer, config, serve, sources};

fn status_of(sources: &Sources, name: &str) -> SourceStatus {
    sources
        .status()
        .into_iter()
        .find(|status| status.source == name)
        .unwrap()
}

#[tokio::test]
async fn a_failing_upstream_is_told_with_its_status_and_without_its_body() {
    for (source, path, _) in LIVE {
        for status in [301, 404, 429, 500] {
            let server = MockServer::start().await;
            serve(
                &server,
                path,
                ResponseTemplate::new(status).set_body_string("stack trace of theirs"),
            )
            .await;
            let sources = sources(&config(&server.uri()));
            let error = sources.answer(source, Some("word"), None).await.unwrap_err();
            assert!(
                matches!(&error, SourceError::Upstream { status: Some(told), .. } if *told == status),
                "{error:?}"
            );
            assert_eq!((error.status().as_u16(), error.code()), (502, "source_failed"));
            assert!(!format!("{error} {error:?}").contains("stack trace"));
        }
    }
}

#[tokio::test]
async fn a_slow_upstream_is_given_up_in_time() {
    for (source, path, body) in LIVE {
        let server = MockServer::start().await;
        let slow = ResponseTemplate::new(200)
            .set_body_string(body)
            .set_delay(Duration::from_secs(30));
        serve(&server, path, slow).await;
        let mut config = config(&server.uri());
        config.wiki.timeout_ms = 50;
        config.arxiv.timeout_ms = 50;
        config.news.timeout_ms = 50;
        config.weather.timeout_ms = 50;
        let sources = sources(&config);
        let error = sources.answer(source, Some("word"), None).await.unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.code()),
            (504, "source_timeout"),
            "{source}"
        );
        assert_eq!(status_of(&sources, source).last_failure, Some("source_timeout"));
    }
}

#[tokio::test]
async fn garbage_is_a_bad_answer() {
    for (source, path, _) in LIVE {
        for body in [
            "",
            "null",
            "<html><body>Sign in</body></html>",
            "{\"hits\":",
            "[[[[",
            "\u{fffd}\0",
        ] {
            let (_server, sources) = answering(path, body).await;
            let outcome = sources.answer(source, Some("word"), None).await;
            assert_eq!(outcome.as_ref().unwrap_err().status().as_u16(), 502);
            bad_answer(outcome);
        }
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read() {
    for (source, path, body) in LIVE {
        let server = MockServer::start().await;
        let padded = format!("{body}{}", " ".repeat(2_000));
        serve(&server, path, ResponseTemplate::new(200).set_body_string(padded)).await;
        let mut config = config(&server.uri());
        config.body_limit = 1_024;
        assert_eq!(
            bad_answer(sources(&config).answer(source, Some("word"), None).await),
            "larger than allowed"
        );
        config.body_limit = 4_096;
        sources(&config).answer(source, Some("word"), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off_at_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let _ = stream.read(&mut request).await.unwrap();
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        // Ends when the other side hangs up.
        while stream.write_all(b"400\r\n").await.is_ok()
            && stream.write_all(&[b' '; 1_024]).await.is_ok()
            && stream.write_all(b"\r\n").await.is_ok()
        {}
    });
    let outcome = sources(&config(&base_url))
        .answer("wiki", Some("word"), None)
        .await;
    assert_eq!(bad_answer(outcome), "larger than allowed");
    server.await.unwrap();
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() {
    for (source, path, body) in LIVE {
        let elsewhere = MockServer::start().await;
        serve(&elsewhere, path, ResponseTemplate::new(200).set_body_string(body)).await;
        let server = MockServer::start().await;
        let location = format!("{}{path}", elsewhere.uri());
        serve(
            &server,
            path,
            ResponseTemplate::new(302).insert_header("location", location),
        )
        .await;
        let error = sources(&config(&server.uri()))
            .answer(source, Some("word"), None)
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                SourceError::Upstream {
                    status: Some(302),
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(elsewhere.received_requests().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_without_the_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = sources(&config(&base_url))
        .answer("wiki", Some("confidential"), None)
        .await
        .unwrap_err();
    assert!(
        matches!(error, SourceError::Upstream { status: None, .. }),
        "{error:?}"
    );
    assert!(
        !format!("{error} {error:?}").contains("confidential"),
        "{error:?}"
    );
}

#[tokio::test]
async fn health_follows_the_last_answer() {
    let server = MockServer::start().await;
    let sources = sources(&config(&server.uri()));
    let names: Vec<_> = sources.status().iter().map(|status| status.source).collect();
    assert_eq!(names, ["wiki", "arxiv", "news", "weather", "curiosity"]);
    assert_eq!(status_of(&sources, "wiki").state, Health::Unknown);
    assert_eq!(status_of(&sources, "curiosity").state, Health::Ok);

    serve(&server, "/w/api.php", ResponseTemplate::new(500)).await;
    for _ in 0..2 {
        sources.answer("wiki", Some("word"), None).await.unwrap_err();
    }
    let status = status_of(&sources, "wiki");
    assert_eq!((status.state, status.failures_in_row), (Health::Degraded, 2));
    assert_eq!(status_of(&sources, "news").state, Health::Unknown);

    server.reset().await;
    serve(
        &server,
        "/w/api.php",
        ResponseTemplate::new(200).set_body_string(LIVE[0].2),
    )
    .await;
    sources.answer("wiki", Some("word"), None).await.unwrap();
    assert_eq!(
        serde_json::to_value(status_of(&sources, "wiki")).unwrap(),
        serde_json::json!({
            "source": "wiki", "live": true, "state": "ok", "lastSuccessAt": "2026-03-01T12:00:00Z",
            "lastFailureAt": "2026-03-01T12:00:00Z", "lastFailure": "source_failed", "failuresInRow": 0,
        })
    );
}

#[tokio::test]
async fn a_wrong_question_says_nothing_about_the_health_of_a_source() {
    let sources = sources(&config("http://127.0.0.1:9"));
    sources.answer("arxiv", Some("()"), None).await.unwrap_err();
    sources.answer("arxiv", None, None).await.unwrap_err();
    assert_eq!(status_of(&sources, "arxiv").state, Health::Unknown);
}
