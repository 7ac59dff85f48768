//! Problem documents for requests that never become requests.
//!
//! What the HTTP parser refuses (a head that is too large, lengths that contradict each other) is answered by the HTTP
//! library itself, with a status and an empty body, before any of our code sees it. The streams here give these answers
//! the body that all others have. HTTP/1 only: HTTP/2 has frames of its own for such mistakes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use salvo::conn::tcp::{TcpAcceptor, TcpCoupler};
use salvo::conn::{Accepted, Acceptor, Holding};
use salvo::fuse::ArcFusePolicy;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Accepts what the inner one accepts, and explains the refusals of the HTTP parser.
#[derive(Debug)]
pub struct ExplainingAcceptor(pub TcpAcceptor);

type Stream = Explaining<<TcpAcceptor as Acceptor>::Stream>;

impl Acceptor for ExplainingAcceptor {
    type Coupler = TcpCoupler<Stream>;
    type Stream = Stream;

    fn holdings(&self) -> &[Holding] {
        self.0.holdings()
    }

    async fn accept(&mut self, policy: Option<ArcFusePolicy>) -> io::Result<Accepted<Self::Coupler, Stream>> {
        let accepted = self.0.accept(policy).await?;
        Ok(Accepted {
            coupler: TcpCoupler::new(),
            stream: Explaining {
                inner: accepted.stream,
                instead: None,
                rest: None,
            },
            fuse_config: accepted.fuse_config,
            conn_ctrl: accepted.conn_ctrl,
            local_addr: accepted.local_addr,
            remote_addr: accepted.remote_addr,
            http_scheme: accepted.http_scheme,
        })
    }
}

/// A connection.
#[derive(Debug)]
pub struct Explaining<S> {
    inner: S,
    /// What is written instead of an answer without a body.
    instead: Option<Instead>,
    /// How the connection is closed after such an answer.
    rest: Option<Rest>,
}

/// What a client still sends when it has been answered. It is read and thrown away for a while: closing at once would make
/// the client's system discard the answer.
#[derive(Debug)]
struct Rest {
    bytes_left: usize,
    until: Pin<Box<Sleep>>,
}

impl Rest {
    fn new() -> Self {
        Self {
            bytes_left: REST_MOST,
            until: Box::pin(sleep(REST_FOR)),
        }
    }

    /// Ready when the client is done, or has had its chance.
    fn poll(&mut self, cx: &mut Context<'_>, mut from: Pin<&mut impl AsyncRead>) -> Poll<()> {
        let mut buffer = [0; 8 * 1024];
        while self.bytes_left > 0 && self.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut buffer);
            match ready!(from.as_mut().poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    self.bytes_left = self.bytes_left.saturating_sub(buf.filled().len());
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
    /// How long the answer was that it stands for.
    stands_for: usize,
}

impl<S: AsyncWrite + Unpin> Explaining<S> {
    fn write_instead(&mut self, cx: &mut Context<'_>, mut instead: Instead) -> Poll<io::Result<usize>> {
        while instead.written < instead.bytes.len() {
            match Pin::new(&mut self.inner).poll_write(cx, &instead.bytes[instead.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(some)) => instead.written += some,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some(instead);
                    return Poll::Pending;
                }
            }
        }
        self.rest = Some(Rest::new());
        Poll::Ready(Ok(instead.stands_for))
    }

    /// Takes over the writing of an answer that has to be explained.
    fn take_over(&mut self, cx: &mut Context<'_>, answer: &[u8]) -> Option<Poll<io::Result<usize>>> {
        let instead = self.instead.take().or_else(|| {
            explain(answer).map(|bytes| Instead {
                bytes,
                written: 0,
                stands_for: answer.len(),
            })
        })?;
        Some(self.write_instead(cx, instead))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Explaining<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.take_over(cx, buf) {
            Some(polled) => polled,
            None => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The library's own answers are one piece.
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        match self.take_over(cx, first) {
            Some(polled) => polled,
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        if let Some(rest) = &mut this.rest {
            ready!(rest.poll(cx, Pin::new(&mut this.inner)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explaining<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

/// How much, and for how long, is still read from a client that was answered before it had said everything.
const REST_MOST: usize = 16 * 1024 * 1024;
const REST_FOR: Duration = Duration::from_secs(2);
/// The longest answer that the library makes up by itself.
const LONGEST: usize = 512;

/// The same answer with a problem document, if it is one of the library's own: a 4xx without a body, and without the
/// request id that every answer of ours has.
fn explain(answer: &[u8]) -> Option<Vec<u8>> {
    if answer.len() > LONGEST || !answer.starts_with(b"HTTP/1.") {
        return None;
    }
    let head = std::str::from_utf8(answer).ok()?.strip_suffix("\r\n\r\n")?;
    let (line, headers) = head.split_once("\r\n")?;
    let status: u16 = line.split(' ').nth(1)?.parse().ok()?;
    let has = |name: &str| {
        headers
            .lines()
            .any(|header| header.to_ascii_lowercase().starts_with(name))
    };
    if !(400..500).contains(&status) || has("x-request-id:") || !has("content-length: 0") {
        return None;
    }
    let (code, title, detail) = match status {
        414 => (
            "target_too_long",
            "URI Too Long",
            "The path and query are too long.",
        ),
        431 => (
            "headers_too_large",
            "Request Header Fields Too Large",
            "The request's headers are too large or too many.",
        ),
        _ => (
            "malformed_request",
            "Bad Request",
            "This is not a well-formed HTTP request.",
        ),
    };
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","code":"{code}"}}"#
    );
    let kept = headers
        .lines()
        .filter(|header| !header.to_ascii_lowercase().starts_with("content-length:"));
    let mut text = format!("{line}\r\n");
    for header in kept {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("content-type: application/problem+json\r\n");
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    Some(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const TOO_LARGE: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\ndate: now\r\n\r\n";

    /// What the client reads when this is written, by a connection that takes few bytes at a time.
    async fn read(written: &'static [u8]) -> String {
        let (ours, mut theirs) = tokio::io::duplex(7);
        let writer = tokio::spawn(async move {
            let mut stream = Explaining {
                inner: ours,
                instead: None,
                rest: None,
            };
            stream.write_all(written).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        drop(theirs);
        writer.await.unwrap();
        text
    }

    #[tokio::test]
    async fn an_answer_of_the_parser_gets_a_problem_document() {
        let text = read(TOO_LARGE).await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ndate: now\r\n"),
            "{head}"
        );
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{head}"
        );
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["status"], &body["code"]),
            (&431.into(), &"headers_too_large".into())
        );
    }

    #[tokio::test]
    async fn our_own_answers_are_left_alone() {
        for own in [
            "HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno",
            "",
        ] {
            assert_eq!(read(own.as_bytes()).await, own);
        }
    }
}
