//! Listening, and stopping without losing anything.

use std::time::Duration;

use salvo::Server;
use salvo::conn::tcp::TcpAcceptor;
use salvo::fuse::FuseConfig;
use salvo::server::ServerHandle;
use tokio::net::TcpListener;

use crate::app::{App, ShutdownError};
use crate::build_service;
use crate::explain::ExplainingAcceptor;
use crate::jobs;

/// Why the server stopped otherwise than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Signals can't be received.
    #[error("cannot receive signals")]
    Signals(#[source] std::io::Error),
    /// The service can't be built.
    #[error("cannot build the service")]
    Service(#[from] crate::ServiceError),
    /// Accepting connections failed.
    #[error("cannot accept connections")]
    Accept(#[source] std::io::Error),
    /// Something was left unfinished.
    #[error("cannot stop cleanly")]
    Stop(#[from] ShutdownError),
}

/// Slow senders are cut off after this much silence within a request.
const BODY_SILENCE: Duration = Duration::from_secs(30);

/// Serves until a signal comes: then accepts nothing new, lets requests in flight finish within the grace, and writes
/// what is still to be written. A second signal ends the waiting.
///
/// # Errors
///
/// The address is taken, or the last writes fail.
pub async fn serve(app: App) -> Result<(), ServeError> {
    let service = build_service(app.clone())?;
    let http = &app.config().http;
    let listen_error = |source| ServeError::Listen {
        address: http.listen,
        source,
    };
    let listener = TcpListener::bind(http.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let acceptor = TcpAcceptor::try_from(listener).map_err(listen_error)?;
    let server = Server::new(ExplainingAcceptor(acceptor))
        .max_connections(http.max_connections)
        .fuse_config(FuseConfig::default().with_request_body_timeout(BODY_SILENCE));
    let signals = Signals::install().map_err(ServeError::Signals)?;
    tokio::spawn(stop_on_signal(signals, server.handle(), http.shutdown_grace));
    tracing::info!(http.listen = %address, "ready at http://{address}/docs");
    let jobs = tokio::spawn(jobs::run(app.clone()));
    let served = server.try_serve(service).await.map_err(ServeError::Accept);
    jobs.abort();
    served?;
    tracing::info!("no requests are left");
    app.shutdown().await?;
    tracing::info!("stopped");
    Ok(())
}

async fn stop_on_signal(mut signals: Signals, server: ServerHandle, grace: Duration) {
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping: finishes requests in flight");
    server.stop_graceful(grace);
    let name = signals.next().await;
    tracing::warn!(signal = name, "stopping at once");
    server.stop_forceful();
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn install() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn install() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        // Without a way to be told, the server runs until it is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
