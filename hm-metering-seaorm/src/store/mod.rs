//! [`SeaOrmStore`]: keys, quotas and the ledger in one SQL database.

mod accounts;
#[cfg(feature = "postgres")]
mod arrays;
mod cursor;
mod keys;
pub mod operator;
mod quota;
mod run;
mod text;
mod transaction;
mod usage;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hm_metering::StoreResult;
use hm_metering::quota::StoreIdentity;
use sea_orm::DatabaseConnection;
use tokio::sync::Mutex;
use uuid::Uuid;

pub use self::accounts::{schedule_tier_in, set_tier_in};
pub use self::transaction::transaction;
use crate::connect::{Options, connect, connect_reader};
use crate::error::Failure;
use crate::migration::{self, MigrateError, Migrator};

/// Keeps keys, quotas and the ledger in one SQL database.
///
/// Clones are cheap and share the connections. Every operation runs in a task of its own, so a caller that goes away
/// leaves no transaction half done, and answers within [`Options::operation_timeout`].
#[derive(Clone)]
pub struct SeaOrmStore(Arc<Inner>);

struct Inner {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    patience: Patience,
    identity: StoreIdentity,
    /// Held by the one task that closes leases of runs that are over.
    closing: Arc<Mutex<()>>,
    #[cfg(feature = "postgres")]
    listener: keys::listener::Listener,
}

/// How long it is waited.
#[derive(Clone, Copy)]
struct Patience {
    /// By a caller, for an operation as a whole.
    operation: Duration,
    /// By an operation, for the next word of the database.
    silence: Duration,
}

impl Patience {
    /// Where no statement takes longer than `longest`: its end is still waited for.
    fn with(operation: Duration, longest: Duration) -> Self {
        Self {
            operation,
            silence: run::silence_after(longest),
        }
    }

    fn of(options: &Options) -> Self {
        let operation = options.operation_timeout;
        // To wait for a free connection is not to wait for the database.
        let longest = operation
            .max(options.statement_timeout)
            .max(options.acquire_timeout);
        Self::with(operation, longest)
    }
}

impl SeaOrmStore {
    /// Connects with default [`Options`], and brings the schema to this version: [`SeaOrmStore::connect`] and
    /// [`SeaOrmStore::migrate`] in one.
    ///
    /// # Errors
    ///
    /// When the address is malformed, the database doesn't answer, or a step of the migration fails.
    pub async fn open(url: &str) -> StoreResult<Self> {
        let store = Self::connect(url).await?;
        store.migrate().await?;
        Ok(store)
    }

    /// Connects with default [`Options`]; see [`connect`] for the addresses.
    ///
    /// The schema is left as it is: call [`SeaOrmStore::migrate`], or run [`Migrator`] yourself.
    ///
    /// # Errors
    ///
    /// When the address is malformed or the database doesn't answer.
    pub async fn connect(url: &str) -> StoreResult<Self> {
        Self::connect_with(url, &Options::default()).await
    }

    /// Connects; see [`connect`] for the addresses.
    ///
    /// # Errors
    ///
    /// When the address is malformed or the database doesn't answer.
    pub async fn connect_with(url: &str, options: &Options) -> StoreResult<Self> {
        let pools = async {
            let writer = connect(url, options).await?;
            let reader = connect_reader(url, options).await?;
            Ok::<_, sea_orm::DbErr>((writer, reader))
        };
        let (writer, reader) = pools
            .await
            .map_err(|error| Failure::from(error).into_error("connect to the database"))?;
        let store = Self::with_pools(writer.clone(), reader.unwrap_or(writer), Patience::of(options));
        Ok(store)
    }

    /// Uses connections that were made elsewhere, which others may use as well.
    ///
    /// For an SQLite file they must come from [`connect`], or have one writing connection with a busy time-out and
    /// foreign keys on as those do.
    #[must_use]
    pub fn new(connection: DatabaseConnection) -> Self {
        Self::with_pools(connection.clone(), connection, Patience::of(&Options::default()))
    }

    /// Asks questions through `reader`, which must lead to the same database; see [`connect_reader`].
    #[must_use]
    pub fn with_reader(self, reader: DatabaseConnection) -> Self {
        let writer = self.0.writer.clone();
        self.replaced(writer, reader, self.0.patience)
    }

    /// Answers each caller within this time, whatever the database does; see [`Options::operation_timeout`]. The database must
    /// break off statements that take longer, by [`Options::statement_timeout`]: one that says nothing for two seconds more is
    /// taken for silent, and the connection is closed.
    #[must_use]
    pub fn with_operation_timeout(self, operation_timeout: Duration) -> Self {
        let (writer, reader) = (self.0.writer.clone(), self.0.reader.clone());
        let patience = Patience::with(operation_timeout, operation_timeout);
        self.replaced(writer, reader, patience)
    }

    fn with_pools(writer: DatabaseConnection, reader: DatabaseConnection, patience: Patience) -> Self {
        Self::of(writer, reader, patience, StoreIdentity(Uuid::new_v4()))
    }

    /// The same store over other connections, or with another time-out.
    fn replaced(&self, writer: DatabaseConnection, reader: DatabaseConnection, patience: Patience) -> Self {
        Self::of(writer, reader, patience, self.0.identity)
    }

    fn of(
        writer: DatabaseConnection,
        reader: DatabaseConnection,
        patience: Patience,
        identity: StoreIdentity,
    ) -> Self {
        Self(Arc::new(Inner {
            writer,
            reader,
            patience,
            identity,
            closing: Arc::default(),
            #[cfg(feature = "postgres")]
            listener: Default::default(),
        }))
    }

    /// Brings the schema to this version. Doing it again changes nothing.
    ///
    /// A server that chains steps of its own after ours runs its own migrator instead.
    ///
    /// # Errors
    ///
    /// When the database doesn't answer, or a step fails; on PostgreSQL and SQLite a failed step leaves nothing behind.
    pub async fn migrate(&self) -> StoreResult<()> {
        let writer = self.0.writer.clone();
        run::owned("migrate", None, async move {
            match migration::up::<Migrator>(&writer).await {
                Ok(()) => Ok(()),
                Err(MigrateError::Database(error)) => Err(Failure::from(error)),
                Err(other) => Err(Failure::unreadable(other)),
            }
        })
        .await
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    ///
    /// When it doesn't answer.
    pub async fn ping(&self) -> StoreResult<()> {
        self.read(
            "ping the database",
            (),
            |db, ()| async move { Ok(db.ping().await?) },
        )
        .await
    }

    /// The connections that write, for queries of one's own.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        &self.0.writer
    }

    /// Closes the connections, also those of clones. Operations that are under way finish first.
    ///
    /// # Errors
    ///
    /// When the database refuses.
    pub async fn close(&self) -> StoreResult<()> {
        let inner = Arc::clone(&self.0);
        #[cfg(feature = "postgres")]
        inner.listener.stop();
        run::owned(
            "close the database",
            Some(self.0.patience.operation),
            async move {
                inner.reader.close_by_ref().await?;
                Ok(inner.writer.close_by_ref().await?)
            },
        )
        .await
    }
}

impl fmt::Debug for SeaOrmStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SeaOrmStore")
            .field("backend", &self.0.writer.get_database_backend())
            .finish_non_exhaustive()
    }
}
