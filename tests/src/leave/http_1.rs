//! Leaving over HTTP/1.

use std::net::SocketAddr;
use std::time::Duration;

use http::header::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::{Client, PATIENCE};
use crate::http::Call;

/// No answer is shorter.
const ANSWER_LEAST: usize = 300;
const IN_A_ROW_MOST: usize = 4;

enum Stage {
    InHead,
    InBody,
    Unanswered,
    InAnswer,
    AmongOthers,
}

/// Opens a connection, makes a request or some in a row, and leaves.
pub(super) async fn leave(client: &mut Client) {
    let mut stream = connect(client).await;
    let stage = match client.below(5) {
        0 => Stage::InHead,
        1 => Stage::InBody,
        2 => Stage::Unanswered,
        3 => Stage::InAnswer,
        _ => Stage::AmongOthers,
    };
    let bytes = written(client, &stage);
    // A server that has seen enough may have closed already.
    drop(stream.write_all(&bytes).await);
    let pause = Duration::from_micros(client.random.within(0..10_000));
    match stage {
        Stage::InHead | Stage::InBody => {}
        // The moment is what is tested; nothing waits for this.
        Stage::Unanswered => sleep(pause).await,
        Stage::InAnswer | Stage::AmongOthers => {
            let mut part = vec![0; 1 + client.below(ANSWER_LEAST)];
            let read = timeout(PATIENCE, stream.read_exact(&mut part)).await;
            drop(read.expect("a part of an answer in time"));
        }
    }
    if client.below(2) == 0 {
        // The system then tells the server by a reset.
        stream.set_zero_linger().expect("a connection that can be reset");
    }
}

async fn connect(client: &mut Client) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if client.below(2) == 0 {
        // The server soon waits for room when it answers many in a row.
        socket.set_recv_buffer_size(2_048).expect("a small buffer");
    }
    socket.connect(client.address).await.expect("a connection")
}

/// What is sent of the requests.
fn written(client: &mut Client, stage: &Stage) -> Vec<u8> {
    let (name, call) = client.next();
    let (mut head, body) = (head(&call, client.address), call.body);
    match stage {
        Stage::InHead => {
            head.truncate(client.below(head.len()));
            client.left.headless.insert(name);
            return head;
        }
        Stage::InBody => {
            head.extend_from_slice(&body[..client.below(body.len().max(1))]);
        }
        Stage::Unanswered | Stage::InAnswer => head.extend_from_slice(&body),
        Stage::AmongOthers => {
            head.extend_from_slice(&body);
            for _ in 0..1 + client.below(IN_A_ROW_MOST - 1) {
                head.append(&mut written(client, &Stage::Unanswered));
            }
        }
    }
    client.left.begun.insert(name);
    head
}

fn head(call: &Call, address: SocketAddr) -> Vec<u8> {
    let Call {
        method, path, body, ..
    } = call;
    let start = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n",
        body.len()
    );
    let mut head = start.into_bytes();
    write_headers(&mut head, &call.headers);
    head.extend_from_slice(b"\r\n");
    head
}

fn write_headers(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
}
