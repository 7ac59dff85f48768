//! Leaving over HTTP/2.

use std::convert::Infallible;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Client, PATIENCE};
use crate::http::Call;

const STREAMS_MOST: usize = 12;
/// How much of an answer the server may send before the client asks for more: less than any has.
const WINDOW: u32 = 64;

/// Opens a connection, leaves some requests on it one after the other, and then the connection, with what is still under
/// way.
pub(super) async fn leave(client: &mut Client) {
    let (stream, socket) = connect(client).await.expect("a connection");
    let begun = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = begun.expect("the begin of HTTP/2");
    // How it ends is seen by whoever sends on it.
    tokio::spawn(async move { drop(connection.await) });
    let mut kept = Vec::new();
    for _ in 0..1 + client.below(STREAMS_MOST) {
        // A server may well send such a client away.
        if sender.ready().await.is_err() {
            break;
        }
        kept.extend(leave_one(client, &mut sender).await);
    }
    if client.below(2) == 0 {
        // So the server hears first that the streams are reset.
        drop(kept);
        sleep(Duration::from_micros(client.random.within(0..10_000))).await;
    }
    // Both ways at once, whatever has a share in the connection. The server may have closed it before.
    drop(socket.shutdown(Shutdown::Both));
}

/// A connection, and a second hold on it.
async fn connect(client: &Client) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = TcpStream::connect(client.address).await?.into_std()?;
    let socket = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, socket))
}

/// Makes one request; the rest of its answer if it is not left now, but with the connection.
async fn leave_one(client: &mut Client, sender: &mut SendRequest<Part>) -> Option<Incoming> {
    let (name, call) = client.next();
    let is_whole = client.below(4) > 0;
    let part = if is_whole {
        call.body.clone()
    } else {
        call.body.slice(..client.below(call.body.len().max(1)))
    };
    let body = Part {
        rest: (!part.is_empty()).then_some(part),
        is_whole,
    };
    let answer = sender.send_request(request(client, call, body));
    client.left.begun.insert(name);
    let is_patient = is_whole && client.below(3) > 0;
    let patience = if is_patient {
        PATIENCE
    } else {
        Duration::from_micros(client.random.within(0..20_000))
    };
    let answer = timeout(patience, answer).await;
    assert!(answer.is_ok() || !is_patient, "no answer in time");
    let mut body = answer.ok()?.ok()?.into_body();
    drop(timeout(patience, body.frame()).await);
    (client.below(2) == 0).then_some(body)
}

fn request(client: &Client, call: Call, body: Part) -> Request<Part> {
    let uri = format!("http://{}{}", client.address, call.path);
    let mut request = Request::new(body);
    *request.method_mut() = call.method;
    *request.uri_mut() = uri.parse().expect("an address");
    *request.headers_mut() = call.headers;
    request
}

/// A body, or its begin, after which nothing comes.
struct Part {
    rest: Option<Bytes>,
    is_whole: bool,
}

impl Body for Part {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.rest.take() {
            Some(rest) => Poll::Ready(Some(Ok(Frame::data(rest)))),
            None if self.is_whole => Poll::Ready(None),
            // Nobody wakes it: its request is left before.
            None => Poll::Pending,
        }
    }
}
