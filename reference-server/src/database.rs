//! The database connection, and tasks that no client can stop half-way.

use std::time::Duration;

use hm_metering_seaorm::connect::{Options, connect, connect_reader};
use sea_orm::{DatabaseConnection, DbErr};
use tracing::Instrument;

use crate::config::DatabaseConfig;
use crate::error::AppError;

/// Two pools on one database. On PostgreSQL they are the same.
#[derive(Clone, Debug)]
pub struct Database {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
}

impl Database {
    /// Connects; the file of an SQLite database is made if it is not there.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, DbErr> {
        let options = Options {
            connections_max: config.max_connections,
            acquire_timeout: config.acquire_timeout,
            ..Options::default()
        };
        let writer = connect(&config.url, &options).await?;
        let reader = connect_reader(&config.url, &options)
            .await?
            .unwrap_or_else(|| writer.clone());
        Ok(Self { writer, reader })
    }

    /// For changes, and for reading within a change.
    #[must_use]
    pub fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// For reading. It sees everything that was committed before.
    #[must_use]
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Whether the database answers in time.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn ping(&self, within: Duration) -> Result<(), DbErr> {
        let database = self.clone();
        let answers = tokio::spawn(async move {
            database.reader.ping().await?;
            database.writer.ping().await
        });
        match tokio::time::timeout(within, answers).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(DbErr::Custom("the database does not answer".to_owned())),
        }
    }

    /// Closes all connections.
    ///
    /// # Errors
    ///
    /// They can't be closed.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.reader.close_by_ref().await?;
        self.writer.close_by_ref().await
    }
}

/// Runs work in a task of its own and waits for it.
///
/// A client that goes away ends the waiting but not the work: a transaction is never left half-way on a pooled
/// connection.
///
/// # Errors
///
/// Those of the work, and 500 if it panics.
pub async fn in_task<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, AppError>
where
    T: Send + 'static,
    E: Into<AppError> + Send + 'static,
{
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(AppError::internal(error)),
    }
}
