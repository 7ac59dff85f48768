//! Bytes on a socket, for requests that no proper client sends.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Much longer than a server needs to refuse something.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_MAX: u64 = 1024 * 1024;

/// Everything that came back until the server closed the connection.
#[derive(Debug)]
pub struct RawAnswer(Vec<u8>);

/// Sends bytes as they are, and reads until the server closes.
///
/// # Panics
///
/// When it doesn't close in time. So send `Connection: close` with what may be understood.
pub async fn send(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (mut from, mut to) = stream.into_split();
    let mut answer = Vec::new();
    let exchange = async {
        // A server that has seen enough closes, which breaks off the writing or the reading.
        let write = async { drop(to.write_all(bytes).await) };
        let mut limited = (&mut from).take(ANSWER_MAX);
        let read = async { drop(limited.read_to_end(&mut answer).await) };
        tokio::join!(write, read);
    };
    let ended = timeout(PATIENCE, exchange).await.is_ok();
    assert!(
        ended,
        "the connection stayed open; so far: {}",
        String::from_utf8_lossy(&answer)
    );
    RawAnswer(answer)
}

impl RawAnswer {
    /// The text, for messages.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// The status of each answer on the connection.
    #[must_use]
    pub fn statuses(&self) -> Vec<u16> {
        let text = self.text();
        let lines = text
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("HTTP/1.1 "));
        lines.filter_map(|line| line.get(..3)?.parse().ok()).collect()
    }

    /// The problem document, if there is one.
    #[must_use]
    pub fn problem(&self) -> Option<Value> {
        let text = self.text();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let is_problem = head
            .to_ascii_lowercase()
            .contains("content-type: application/problem+json");
        is_problem.then(|| serde_json::from_str(body).expect("a problem document is JSON"))
    }
}
