//! A store of one's own for hm-metering: quotas and the ledger in one file of [`redb`].
//!
//! It shows what an integrator has to write for another database. `counter.rs` has the rules of a quota counter, without
//! a database; `quota.rs` and `ledger.rs` have the traits, a transaction for each call; `tests/conformance.rs` runs the
//! suite that every store has to pass.
//!
//! A batch's events and its settlements are one transaction, because both are in one file. The engine learns it from the
//! identity that both traits answer.

#![forbid(unsafe_code)]

mod counter;
mod ledger;
mod quota;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use hm_metering::error::{StoreError, StoreErrorKind, StoreResult};
use hm_metering::quota::StoreIdentity;
use redb::{Database, TableDefinition, WriteTransaction};
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// Counters as JSON, by account or key, meter and start of the period.
const COUNTERS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("counters");
/// Batches whose settlements were applied.
const SETTLED: TableDefinition<'static, &str, ()> = TableDefinition::new("settled");
/// The ids of a batch's events as JSON, by batch.
const BATCHES: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("batches");
/// Events as JSON, by id.
const EVENTS: TableDefinition<'static, u128, &[u8]> = TableDefinition::new("events");

/// Quotas and the ledger in one file. Clones are the same store.
#[derive(Clone)]
pub struct FileStore {
    file: Arc<Database>,
    identity: StoreIdentity,
}

impl FileStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When it can't be opened, is no such file, or is open in another process.
    pub fn open(path: impl AsRef<Path>) -> StoreResult<Self> {
        let open = || {
            let file = Database::create(path)?;
            let transaction = file.begin_write()?;
            transaction.open_table(COUNTERS)?;
            transaction.open_table(SETTLED)?;
            transaction.open_table(BATCHES)?;
            transaction.open_table(EVENTS)?;
            transaction.commit()?;
            Ok(file)
        };
        let file = open().map_err(|failure: Failure| failure.into_error("open the file"))?;
        Ok(Self {
            file: Arc::new(file),
            identity: StoreIdentity(Uuid::now_v7()),
        })
    }

    /// Runs `change` in a transaction, which is committed when it succeeds and undone when it fails. The file is no
    /// business of the runtime's threads; and once begun the transaction ends by itself, whether or not the caller waits.
    async fn write<T: Send + 'static>(
        &self,
        context: &'static str,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Failure> + Send + 'static,
    ) -> StoreResult<T> {
        let file = Arc::clone(&self.file);
        let work = move || {
            let transaction = file.begin_write()?;
            let answer = change(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        match spawn_blocking(work).await {
            Ok(result) => result.map_err(|failure: Failure| failure.into_error(context)),
            Err(panic) => Err(StoreError::new(StoreErrorKind::Unexpected, context).with_source(panic)),
        }
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Why a transaction is undone.
enum Failure {
    /// The contract says no.
    Refused(StoreErrorKind),
    /// The file can't be read or written.
    File(redb::Error),
    /// It holds what we have not written.
    Corrupt(serde_json::Error),
}

impl Failure {
    fn into_error(self, context: &'static str) -> StoreError {
        match self {
            Self::Refused(kind) => StoreError::new(kind, context),
            // The engine tries again what is unavailable, and gives up what is anything else: a full disk must not cost
            // an event.
            Self::File(error) => StoreError::new(StoreErrorKind::Unavailable, context).with_source(error),
            Self::Corrupt(error) => StoreError::new(StoreErrorKind::Corrupt, context).with_source(error),
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}
