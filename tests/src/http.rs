//! A small HTTP client that knows which connection it uses.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer may take longer than this, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request that is being put together.
#[derive(Clone, Debug)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// A request without a body.
    #[must_use]
    pub fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// `GET`.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// `DELETE`.
    #[must_use]
    pub fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// `POST` with a JSON body.
    #[must_use]
    pub fn post(path: &str, body: &Value) -> Self {
        Self::new(Method::POST, path).body("application/json", body.to_string())
    }

    /// The metered call that most tests make.
    #[must_use]
    pub fn curiosity(key: &str) -> Self {
        Self::post("/api/v1/data", &serde_json::json!({ "source": "curiosity" })).key(key)
    }

    /// With a body of a kind.
    #[must_use]
    pub fn body(self, kind: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
        .with(CONTENT_TYPE, kind)
    }

    /// With an API key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    /// With an access token, or a key in its place.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.with(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// With a name to be found by.
    #[must_use]
    pub fn named(self, request_id: &str) -> Self {
        self.header("x-request-id", request_id)
    }

    /// With one more header.
    #[must_use]
    pub fn header(self, name: &'static str, value: &str) -> Self {
        self.with(HeaderName::from_static(name), value)
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers
            .append(name, HeaderValue::from_str(value).expect("a header's value"));
        self
    }

    fn into_request(self, address: SocketAddr) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().expect("a path");
        *request.headers_mut() = self.headers;
        let host = HeaderValue::from_str(&address.to_string()).expect("an address");
        request.headers_mut().insert(HOST, host);
        request
    }
}

/// One connection, kept alive.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

/// There was no whole answer.
#[derive(Debug)]
pub struct CutOff(String);

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there was no answer: {}", self.0)
    }
}

impl CutOff {
    fn by(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self, CutOff> {
        let connect = timeout(PATIENCE, TcpStream::connect(address));
        let stream = connect.await.map_err(CutOff::by)?.map_err(CutOff::by)?;
        // Small requests and answers one after the other would otherwise wait for each other's acknowledgements.
        stream.set_nodelay(true).map_err(CutOff::by)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(CutOff::by)?;
        // How the connection ends is seen by whoever sends on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { address, sender })
    }

    /// Sends, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// When the connection ends before.
    pub async fn send(&mut self, call: Call) -> Result<Answer, CutOff> {
        let request = call.into_request(self.address);
        let whole = async {
            self.sender.ready().await.map_err(CutOff::by)?;
            let (head, body) = self
                .sender
                .send_request(request)
                .await
                .map_err(CutOff::by)?
                .into_parts();
            let body = body.collect().await.map_err(CutOff::by)?.to_bytes();
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
            })
        };
        match timeout(PATIENCE, whole).await {
            Ok(done) => done,
            Err(_) => panic!("a request was not answered within {PATIENCE:?}"),
        }
    }
}

/// Sends one request on a connection of its own.
///
/// # Panics
///
/// When it is not answered.
pub async fn once(address: SocketAddr, call: Call) -> Answer {
    let answer = async { Connection::open(address).await?.send(call).await };
    answer.await.unwrap_or_else(|cut_off| panic!("{cut_off}"))
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} without JSON: {}", self.status, self.text()))
    }

    /// A header that comes at most once; empty when it is not there.
    ///
    /// # Panics
    ///
    /// When it comes twice or is no text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map_or("", |value| value.to_str().unwrap());
        assert_eq!(values.next(), None, "{name} comes twice");
        value
    }

    /// A header that is a whole number.
    ///
    /// # Panics
    ///
    /// When it is missing or is none.
    #[must_use]
    pub fn number(&self, name: &str) -> u64 {
        let value = self.header(name);
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {value:?} (status {})", self.status))
    }

    /// The problem document's `code`; empty when this is none.
    #[must_use]
    pub fn code(&self) -> String {
        if self.header("content-type") != "application/problem+json" {
            return String::new();
        }
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The answer's JSON, if it has this status.
    ///
    /// # Panics
    ///
    /// When it has another one.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The problem document, if the answer is one with this status and code.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, self.code().as_str()),
            (status, code),
            "{}",
            self.text()
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
        assert_eq!(problem["requestId"], self.header("x-request-id"), "{problem}");
        problem
    }
}
