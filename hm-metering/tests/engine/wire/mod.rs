//! Requests over real connections: HTTP/1 and HTTP/2, on plain hyper, axum and Salvo, and gRPC.

mod disconnects;
mod endings;
mod expect;
mod grpc;
mod heads;
mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::Body as AxumBody;
use bytes::Bytes;
use futures_util::StreamExt;
use hm_metering::{Charge, MeteringLayer};
use http::{Extensions, HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use salvo::Listener as _;
use salvo::http::ResBody;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, Service, service_fn};

type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error> + Send + Sync>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Face {
    Hyper,
    Axum,
    Salvo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// A server, for as long as this is there.
struct Server {
    address: SocketAddr,
    /// Connections that are open.
    open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Which requests the handlers were called for, by their ids.
type Called = Arc<Mutex<Vec<String>>>;

impl Server {
    /// Serves [`answer`] on that face, metered by `layer`.
    async fn start(face: Face, layer: MeteringLayer, called: &Called) -> Self {
        let called = Arc::clone(called);
        match face {
            Face::Hyper => {
                let inner = service_fn(move |request: Request<Incoming>| {
                    note(&called, request.headers());
                    let fails = request.uri().path() == "/fails";
                    let answer = answer(request.uri().path(), request.extensions());
                    async move {
                        match fails {
                            true => Err(std::io::Error::other("the service fails")),
                            false => Ok(answer.await),
                        }
                    }
                });
                Self::serve(layer.layer(inner)).await
            }
            Face::Axum => {
                let inner = move |request: Request<AxumBody>| {
                    note(&called, request.headers());
                    let answer = answer(request.uri().path(), request.extensions());
                    async { answer.await.map(AxumBody::new) }
                };
                let app = axum::Router::new()
                    .route("/{end}", axum::routing::any(inner))
                    .layer(layer);
                Self::serve(app).await
            }
            Face::Salvo => {
                let acceptor = salvo::conn::TcpListener::new("127.0.0.1:0").bind().await;
                let address = salvo::conn::Acceptor::holdings(&acceptor)[0]
                    .local_addr
                    .clone()
                    .into_std()
                    .unwrap();
                let router = salvo::Router::with_path("{end}")
                    .hoop(layer.hoop())
                    .goal(SalvoHandler(called));
                Self {
                    address,
                    open: Arc::default(),
                    task: tokio::spawn(salvo::Server::new(acceptor).serve(router)),
                }
            }
        }
    }

    async fn serve<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open: Arc<AtomicUsize> = Arc::default();
        let connections = Arc::clone(&open);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let (service, is_open) = (TowerToHyperService::new(service.clone()), Open::new(&connections));
                tokio::spawn(async move {
                    let _is_open = is_open;
                    let server = auto::Builder::new(TokioExecutor::new());
                    let served = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
                    // It may break; the requests on it are settled all the same.
                    drop(served.await);
                });
            }
        });
        Self { address, open, task }
    }
}

/// A connection that is open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct SalvoHandler(Called);

#[salvo::async_trait]
impl salvo::Handler for SalvoHandler {
    async fn handle(
        &self,
        req: &mut salvo::Request,
        _: &mut salvo::Depot,
        res: &mut salvo::Response,
        _: &mut salvo::FlowCtrl,
    ) {
        note(&self.0, req.headers());
        let path = req.uri().path().to_owned();
        let (parts, body) = answer(&path, req.extensions()).await.into_parts();
        res.status_code(parts.status);
        res.headers_mut().extend(parts.headers);
        res.body = match path.as_str() {
            "/whole" => ResBody::Once(body.collect().await.unwrap().to_bytes()),
            "/chunks" => ResBody::Chunks([Bytes::from_static(b"fac"), Bytes::from_static(b"ts")].into()),
            _ => ResBody::Boxed(Box::pin(body.map_err(salvo::BoxedError::from))),
        };
    }
}

fn note(called: &Called, headers: &HeaderMap) {
    let id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    called.lock().unwrap().push(id.unwrap_or_default().to_owned());
}

/// Answers in the way that the path says.
fn answer(path: &str, extensions: &Extensions) -> Pin<Box<dyn Future<Output = Response<BoxBody>> + Send>> {
    let response = Response::builder();
    let response = match path {
        "/whole" | "/chunks" => response.body(boxed(Full::from("facts").map_err(never))),
        "/empty" => response.status(204).body(boxed(Empty::new().map_err(never))),
        "/not-modified" => response
            .status(304)
            .body(boxed(Full::from("facts").map_err(never))),
        "/wrong" => response
            .status(500)
            .body(boxed(Full::from("wrong").map_err(never))),
        "/stream" => response.body(stream(vec![data("fac"), data("ts")], false)),
        "/announced" => response
            .header("content-length", 5)
            .body(stream(vec![data("fac"), data("ts")], true)),
        "/trailers" => {
            let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), "5".parse().unwrap())]);
            response
                .header("trailer", "x-sum")
                .body(stream(vec![data("facts"), Ok(Frame::trailers(trailers))], true))
        }
        "/breaks" => response.body(stream(
            vec![data("facts"), Err(std::io::Error::other("broken"))],
            false,
        )),
        "/trickles" => response.body(stream(vec![data("facts")], true)),
        // A time limit of the handler's own, which says so.
        "/times-out" => {
            extensions.get::<Charge>().unwrap().note_timeout();
            response
                .status(503)
                .body(boxed(Full::from("late").map_err(never)))
        }
        // One of a layer in between, which answers in the handler's place.
        "/late" => response
            .status(408)
            .body(boxed(Full::from("late").map_err(never))),
        // One that breaks the stream.
        "/times-out-in-body" => {
            let charge = extensions.get::<Charge>().unwrap().clone();
            let late = futures_util::stream::once(async move {
                charge.note_timeout();
                Err(std::io::Error::other("late"))
            });
            let frames = futures_util::stream::iter([data("facts")]).chain(late);
            response.body(boxed(StreamBody::new(Box::pin(frames))))
        }
        "/panics-in-body" => response.body(boxed(Panics)),
        "/panics" => return Box::pin(async { panic!("a handler's mistake") }),
        "/waits" => return Box::pin(std::future::pending()),
        "/upgrades" => response
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "other")
            .body(boxed(Empty::new().map_err(never))),
        _ => response
            .status(404)
            .body(boxed(Full::from("no such end").map_err(never))),
    };
    Box::pin(std::future::ready(response.unwrap()))
}

const fn never(never: Infallible) -> std::io::Error {
    match never {}
}

fn boxed(body: impl Body<Data = Bytes, Error = std::io::Error> + Send + Sync + 'static) -> BoxBody {
    Box::pin(body)
}

type FrameResult = Result<Frame<Bytes>, std::io::Error>;

fn data(text: &'static str) -> FrameResult {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

/// These frames, and after them the end or nothing for ever.
fn stream(frames: Vec<FrameResult>, hangs: bool) -> BoxBody {
    let frames = futures_util::stream::iter(frames);
    if hangs {
        boxed(StreamBody::new(frames.chain(futures_util::stream::pending())))
    } else {
        boxed(StreamBody::new(frames))
    }
}

struct Panics;

impl Body for Panics {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<FrameResult>> {
        panic!("a body's mistake")
    }
}

/// A client with a connection of its own.
enum Client {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn connect(version: Version, address: SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        match version {
            Version::One => {
                let (client, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection.with_upgrades());
                Self::One(client)
            }
            Version::Two => {
                let (client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                Self::Two(client)
            }
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::One(client) => {
                client.ready().await?;
                client.send_request(request).await
            }
            Self::Two(client) => {
                client.ready().await?;
                client.send_request(request).await
            }
        }
    }
}
