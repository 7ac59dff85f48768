//! The database connection, and tasks that no client can stop half-way.

use std::io;
use std::path::Path;
use std::time::Duration;

use hm_metering_seaorm::connect::{Options, connect, connect_reader, silent, unless_silent};
use sea_orm::{DatabaseConnection, DbErr};
use tracing::Instrument;

use crate::config::DatabaseConfig;
use crate::error::AppError;
use crate::secrets::{create_private_file, create_private_folder};

/// How long a statement of an operator's command may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1_800);

/// How long an operator's command may do nothing in mid-transaction: as long as nobody reads what it prints.
const PAUSES: Duration = Duration::from_secs(60);

/// How long the database may say nothing while a request waits for it. Nobody waits for an answer that comes later.
const SILENCE: Duration = Duration::from_secs(60);

/// Two pools on one database. Where it is on a server they are the same.
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
        Self::connect_with(config, config.options()).await
    }

    /// Connects for an operator's command, whose statements may take longer than those that requests wait for.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn connect_patiently(config: &DatabaseConfig) -> Result<Self, DbErr> {
        let options = Options {
            statement_timeout: PATIENCE,
            transaction_idle_timeout: config.transaction_idle_timeout.max(PAUSES),
            ..config.options()
        };
        Self::connect_with(config, options).await
    }

    async fn connect_with(config: &DatabaseConfig, options: Options) -> Result<Self, DbErr> {
        if let Some(file) = config.file() {
            make_private(&file);
        }
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
        let pings = async move {
            database.reader.ping().await?;
            database.writer.ping().await
        };
        // A client that goes away does not end it, but a database that says nothing does: it is asked again and again.
        match tokio::spawn(tokio::time::timeout(within, pings)).await {
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

/// Creates the file of an SQLite database, and its folder, for their owner only; SQLite gives the files beside it the same
/// mode. What is there stays as it is, and what goes wrong here is said by the connection, which tries the same.
fn make_private(file: &Path) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let created = folder
        .map_or(Ok(()), create_private_folder)
        .and_then(|()| create_private_file(file).map(drop));
    if let Err(error) = created
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "the database's file can't be created"
        );
    }
}

/// Runs work in a task of its own and waits for it.
///
/// A client that goes away ends the waiting but not the work: a transaction is never left half-way on a pooled
/// connection.
///
/// # Errors
///
/// Those of the work, 503 if it waits for a database that says nothing any more, and 500 if it panics.
pub async fn in_task<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, AppError>
where
    T: Send + 'static,
    E: Into<AppError> + Send + 'static,
{
    match tokio::spawn(unless_silent(SILENCE, work).in_current_span()).await {
        Ok(Some(done)) => done.map_err(Into::into),
        Ok(None) => Err(AppError::unavailable(silent())),
        Err(error) => Err(AppError::internal(error)),
    }
}
