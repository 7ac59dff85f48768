//! What the pools of all databases have in common.
//!
//! They are made with the driver's own options: sea-orm writes its options, the address and its password included, into a
//! span at trace level, and has no time-out for the first connection alone.

use std::time::Duration;

use log::LevelFilter;
use sea_orm::DbErr;
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::{ConnectOptions, Connection, Database, Error, Pool};

use super::{Options, connection_error};
use crate::error;

/// A pool of at most so many connections.
pub(super) fn of<D: Database>(connections: u32, options: &Options) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(options.idle_timeout)
        .max_lifetime(options.max_lifetime)
}

/// The same for a database on a server, which may fall silent. The driver asks a connection that comes back whether it is well,
/// however long that takes; so that is asked before, with a limit, and one that doesn't answer is closed. One that falls silent
/// between the two questions is lost to the pool.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) fn on_server<D: Database>(connections: u32, options: &Options) -> PoolOptions<D> {
    let limit = options.acquire_timeout;
    of(connections, options).after_release(move |connection: &mut D::Connection, _| {
        Box::pin(async move {
            match tokio::time::timeout(limit, connection.ping()).await {
                Ok(answer) => answer.map(|()| true),
                Err(elapsed) => Err(Error::Io(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    elapsed,
                ))),
            }
        })
    })
}

/// Statements in the log as the options have it. How long one took is for the database's own log to say.
pub(super) fn logged<C: ConnectOptions>(connect: C, options: &Options) -> C {
    if options.log_statements {
        connect
            .log_statements(LevelFilter::Debug)
            .log_slow_statements(LevelFilter::Off, Duration::ZERO)
    } else {
        connect.disable_statement_logging()
    }
}

/// How long is waited before a database that others hold is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the pool with its first connection. A database that doesn't answer is asked again until the time is over; so is an
/// SQLite file that another process is just making.
pub(super) async fn open<D: Database>(
    pool: PoolOptions<D>,
    connect: <D::Connection as Connection>::Options,
    within: Duration,
) -> Result<Pool<D>, DbErr> {
    let pool = pool.connect_lazy_with(connect);
    let first = async {
        loop {
            match pool.acquire().await {
                Ok(_) => return Ok(()),
                Err(Error::PoolTimedOut) => tokio::task::yield_now().await,
                Err(error) => match connection_error(error) {
                    held if error::waited_in_vain(&held) => tokio::time::sleep(PAUSE).await,
                    error => return Err(error),
                },
            }
        }
    };
    tokio::time::timeout(within, first)
        .await
        .unwrap_or_else(|_| Err(connection_error(Error::PoolTimedOut)))?;
    Ok(pool)
}
