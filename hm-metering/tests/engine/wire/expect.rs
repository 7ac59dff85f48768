//! Callers that ask before they send a body.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Called, Face, Server};
use crate::stage::{FIVE, Stage};

/// Sends the head of a great upload, and answers the first head that comes back. None of the body is sent.
async fn ask(server: &Server, key: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /whole HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: 100000000\r\n\
         expect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut answer, mut buffer) = (String::new(), [0; 1_024]);
    while !answer.contains("\r\n\r\n") {
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer));
        let read = read.await.expect("it waits for the body").unwrap();
        assert!(read > 0, "it hangs up: {answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    answer
}

#[tokio::test]
async fn a_refused_upload_is_not_asked_for() {
    for face in [Face::Hyper, Face::Axum, Face::Salvo] {
        let stage = Stage::new(&FIVE.replace("limit = 5,", "limit = 1,")).await;
        let called = Called::default();
        let server = Server::start(face, stage.meter.layer("facts"), &called).await;
        let key = stage.key.expose();
        let unknown = ask(&server, "nonsense").await;
        assert!(unknown.starts_with("HTTP/1.1 401 "), "{face:?}: {unknown}");
        // The handler here looks at no body either.
        let served = ask(&server, key).await;
        assert!(served.starts_with("HTTP/1.1 200 "), "{face:?}: {served}");
        let over = ask(&server, key).await;
        assert!(over.starts_with("HTTP/1.1 429 "), "{face:?}: {over}");
        assert_eq!(called.lock().unwrap().len(), 1, "{face:?}");
    }
}
