//! How work reaches the database: in an owned task, with a deadline, in a transaction that is tried again when it lost a
//! race or its connection.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::{StoreError, StoreErrorKind, StoreResult};
use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use uuid::Uuid;

use super::SeaOrmStore;
use crate::connect::unless_silent;
use crate::error::{self, Failure};

/// How often a transaction is tried that keeps losing races. Each loss means that another one got through.
const ATTEMPTS: u32 = 8;

/// How often work is tried whose connection breaks. A pool has to find out one by one that its connections lead nowhere,
/// but whoever asks is told soon when the database is really away.
const CONNECTIONS: u32 = 3;

/// Work that is done in one transaction: wholly, or not at all.
///
/// It is a value, not a closure, because it may have to be done again from the start.
#[async_trait]
pub(super) trait Work: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send + 'static;

    /// Does it. An error undoes everything.
    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Self::Answer, Failure>;

    /// What it needs to see of others that work at the same time; none is what the database does by itself.
    fn isolation(&self) -> Option<IsolationLevel> {
        None
    }

    /// Whether it is done again, like one that lost a race, when a row that another transaction holds wasn't to be had in
    /// [`Options::lock_timeout`](crate::Options::lock_timeout). What is soon asked for anew anyway, such as a lease, must not be:
    /// those who gave up long ago would keep connections from others.
    fn waits_again(&self) -> bool {
        true
    }

    /// How long its longest statement may take, where it sets that itself and to more than others may.
    fn longest_statement(&self) -> Option<Duration> {
        None
    }
}

impl SeaOrmStore {
    /// Does `work` in one transaction that writes.
    pub(super) async fn transact<W: Work>(&self, context: &'static str, work: W) -> StoreResult<W::Answer> {
        self.transact_within(context, Some(self.0.patience.operation), work)
            .await
    }

    /// The same for work of operators, which may take as long as it takes.
    pub(super) async fn transact_patiently<W: Work>(
        &self,
        context: &'static str,
        work: W,
    ) -> StoreResult<W::Answer> {
        self.transact_within(context, None, work).await
    }

    async fn transact_within<W: Work>(
        &self,
        context: &'static str,
        deadline: Option<Duration>,
        work: W,
    ) -> StoreResult<W::Answer> {
        let writer = self.0.writer.clone();
        let silence = self.silence(&writer);
        owned(context, deadline, async move {
            tried(context, &writer, &work, silence).await
        })
        .await
    }

    /// Asks a question about `subject`, again when the connection breaks.
    pub(super) async fn read<S, T, F>(
        &self,
        context: &'static str,
        subject: S,
        ask: impl Fn(DatabaseConnection, S) -> F + Send + 'static,
    ) -> StoreResult<T>
    where
        S: Clone + Send + 'static,
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let reader = self.0.reader.clone();
        let silence = self.silence(&reader);
        owned(context, Some(self.0.patience.operation), async move {
            let mut attempt = 1;
            loop {
                match heard(silence, ask(reader.clone(), subject.clone())).await {
                    Err(failure) if failure.said().is_some_and(|said| may_be_repeated(said, attempt)) => {
                        tracing::debug!(context, attempt, "a question was broken off and is asked again");
                        tokio::time::sleep(pause(attempt)).await;
                        attempt += 1;
                    }
                    result => return result,
                }
            }
        })
        .await
    }
}

impl SeaOrmStore {
    /// How long the database may say nothing in the middle of an operation. A file needs no limit.
    pub(super) fn silence(&self, db: &DatabaseConnection) -> Option<Duration> {
        let is_server = db.get_database_backend() != DbBackend::Sqlite;
        is_server.then_some(self.0.patience.silence)
    }
}

/// Does `work` in one transaction, again while it loses races or its connection, or while rows are held by others. `silence` is
/// how long the database may say nothing in between. To be called in an owned task.
pub(super) async fn tried<W: Work>(
    context: &'static str,
    writer: &DatabaseConnection,
    work: &W,
    silence: Option<Duration>,
) -> Result<W::Answer, Failure> {
    // SQLite has waited as long as it may when it says so.
    let waits_again = work.waits_again() && writer.get_database_backend() != DbBackend::Sqlite;
    let silence = silence.map(|silence| silence.max(work.longest_statement().map_or(silence, silence_after)));
    let mut attempt = 1;
    loop {
        let (again, failure) = match once(writer, work, silence).await {
            Ok(answer) => return Ok(answer),
            Err(Undone::Before(failure)) => {
                let again = failure.said().is_some_and(|said| {
                    may_be_repeated(said, attempt) || waits_again && may_wait_again(said, attempt)
                });
                (again, failure)
            }
            Err(Undone::ByCommit(failure)) => {
                let again = failure
                    .said()
                    .is_some_and(|said| commit_may_be_repeated(said, attempt));
                (again, failure)
            }
        };
        if !again {
            return Err(failure);
        }
        tracing::debug!(
            context,
            attempt,
            "a transaction was broken off and is tried again"
        );
        tokio::time::sleep(pause(attempt)).await;
        attempt += 1;
    }
}

/// How long the database may say nothing where a statement may take so long: its end is still waited for.
pub(super) const fn silence_after(longest: Duration) -> Duration {
    longest.saturating_add(Duration::from_secs(2))
}

/// What the database says, unless it falls silent: that is an error, and its connection is closed.
async fn heard<T, E>(
    silence: Option<Duration>,
    work: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, Failure>
where
    E: Into<Failure>,
{
    let Some(limit) = silence else {
        return work.await.map_err(Into::into);
    };
    match unless_silent(limit, work).await {
        Some(said) => said.map_err(Into::into),
        None => Err(Failure::Silence),
    }
}

/// Whether what failed this time, and left nothing behind, may go well the next.
pub(super) fn may_be_repeated(said: &DbErr, attempt: u32) -> bool {
    error::lost_a_race(said) && attempt < ATTEMPTS
        || error::lost_the_connection(said) && attempt < CONNECTIONS
}

/// Whether a row that wasn't to be had this time may be had the next.
pub(super) fn may_wait_again(said: &DbErr, attempt: u32) -> bool {
    error::waited_in_vain(said) && attempt < ATTEMPTS
}

/// The same of a commit. One that lost a race is undone; one whose connection broke may have been done.
pub(super) fn commit_may_be_repeated(said: &DbErr, attempt: u32) -> bool {
    error::lost_a_race(said) && attempt < ATTEMPTS
}

/// Where a transaction broke off.
enum Undone {
    /// Before its commit, so that nothing of it is left.
    Before(Failure),
    /// In its commit.
    ByCommit(Failure),
}

impl<E: Into<Failure>> From<E> for Undone {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

async fn once<W: Work>(
    writer: &DatabaseConnection,
    work: &W,
    silence: Option<Duration>,
) -> Result<W::Answer, Undone> {
    let transaction = heard(silence, begin(writer, work.isolation())).await?;
    match heard(silence, work.run(&transaction)).await {
        Ok(answer) => {
            let committed = heard(silence, transaction.commit()).await;
            committed.map_err(Undone::ByCommit)?;
            Ok(answer)
        }
        // There is nobody who would hear of it.
        Err(Failure::Silence) => Err(Undone::Before(Failure::Silence)),
        Err(failure) => {
            if let Err(failure) = heard(silence, transaction.rollback()).await {
                // The connection is broken; the database rolls back by itself.
                tracing::debug!(?failure, "a rollback failed");
            }
            Err(Undone::Before(failure))
        }
    }
}

/// Begins a transaction that writes.
pub(super) async fn begin(
    db: &DatabaseConnection,
    isolation: Option<IsolationLevel>,
) -> Result<DatabaseTransaction, DbErr> {
    let options = TransactionOptions {
        // A transaction that begins by reading and then writes would fail instead of waiting when another process
        // holds SQLite's write lock.
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        // SQLite has one writer, and no levels.
        isolation_level: isolation.filter(|_| db.get_database_backend() != DbBackend::Sqlite),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options).await
}

/// Runs `work` in a task of its own and waits for its answer, at most until `deadline`.
///
/// When the caller goes away or the deadline passes, the work goes on to its end: a connection is never left in the
/// middle of a transaction.
pub(super) async fn owned<T: Send + 'static>(
    context: &'static str,
    deadline: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> StoreResult<T> {
    let task = tokio::spawn(work);
    let joined = match deadline {
        Some(deadline) => tokio::time::timeout(deadline, task)
            .await
            .map_err(|elapsed| StoreError::new(StoreErrorKind::Timeout, context).with_source(elapsed))?,
        None => task.await,
    };
    match joined {
        Ok(result) => result.map_err(|failure| failure.into_error(context)),
        Err(error) => Err(StoreError::new(StoreErrorKind::Unexpected, context).with_source(error)),
    }
}

/// Between half of and the whole of 4, 8, 16, … ms, at random, so that those who met once don't meet again.
pub(super) fn pause(attempt: u32) -> Duration {
    let most = 4_000_u64 << attempt.min(11).saturating_sub(1);
    let (random, _) = Uuid::new_v4().as_u64_pair();
    Duration::from_micros(most / 2 + random % (most / 2))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use sea_orm::ConnectionTrait;

    use super::*;
    use crate::testing::TestDatabase;

    /// Says nothing for half a second.
    struct Quiet {
        longest: Option<Duration>,
    }

    #[async_trait]
    impl Work for Quiet {
        type Answer = ();

        async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
            transaction.execute_unprepared("SELECT pg_sleep(0.5)").await?;
            Ok(())
        }

        fn longest_statement(&self) -> Option<Duration> {
            self.longest
        }
    }

    #[tokio::test]
    async fn work_whose_statements_may_take_long_is_not_given_up_for_silence() {
        let Some(database) = TestDatabase::empty_postgres().await.unwrap() else {
            return;
        };
        let tried = async |longest| {
            let silence = Some(Duration::from_millis(100));
            tried("test", database.connection(), &Quiet { longest }, silence).await
        };
        assert!(matches!(tried(None).await, Err(Failure::Silence)));
        assert!(tried(Some(Duration::from_secs(60))).await.is_ok());
        database.close().await.unwrap();
    }
}
