//! Transactions of somebody else's, done as the store does its own.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};

use super::run::{begin, commit_may_be_repeated, may_be_repeated, may_wait_again, pause};
use crate::connect::{silent, unless_silent};

/// How long the database may say nothing. More than statements may take, of whose end it has to tell.
const SILENCE: Duration = Duration::from_secs(60);

/// Does `work` in one transaction: wholly, or not at all. An error of the work undoes everything.
///
/// When the database broke it off in favour of another transaction, a row was not to be had in
/// [`Options::lock_timeout`](crate::Options::lock_timeout), or the connection was lost before the commit, nothing of
/// it is left, and it is done again from the start: up to eight times for races and rows and three for connections, with
/// pauses of some milliseconds whose length is left to chance. Such an error is looked for behind `E`, so `work` should hand
/// on what the database says as source or as it is. A commit whose outcome isn't known is not repeated.
///
/// On SQLite the transaction has the write lock from the start: one that read first and wanted to write then would fail at
/// once, without waiting, where another process has written in between.
///
/// When a server says nothing for a minute in the middle of it, the connection is closed, and that is an error.
///
/// Run it in a task of its own: when its future is dropped, the transaction is undone, but the connection is busy with that
/// before anybody else can have it.
///
/// # Errors
///
/// Those of `work`, and those of beginning and ending a transaction.
pub async fn transaction<T, E, W>(db: &DatabaseConnection, work: W) -> Result<T, E>
where
    T: Send,
    E: From<DbErr> + Error + Send + 'static,
    W: for<'t> Fn(&'t DatabaseTransaction) -> BoxFuture<'t, Result<T, E>> + Send + Sync,
{
    let mut attempt = 1;
    loop {
        let error = match once(db, &work, attempt).await {
            Ok(answer) => return Ok(answer),
            Err(Broken::ForGood(error)) => return Err(error),
            Err(Broken::ForNow(error)) => error,
        };
        tracing::debug!(
            attempt,
            error = &error as &dyn Error,
            "a transaction was broken off and is tried again"
        );
        tokio::time::sleep(pause(attempt)).await;
        attempt += 1;
    }
}

/// Whether another attempt may go well.
enum Broken<E> {
    ForNow(E),
    ForGood(E),
}

impl<E: From<DbErr> + Error + 'static> Broken<E> {
    /// Off, with nothing left behind. SQLite has waited as long as it may when it says so.
    fn off(error: E, backend: DbBackend, attempt: u32) -> Self {
        let again = of_database(&error).is_some_and(|said| {
            may_be_repeated(said, attempt) || backend != DbBackend::Sqlite && may_wait_again(said, attempt)
        });
        if again {
            Self::ForNow(error)
        } else {
            Self::ForGood(error)
        }
    }

    /// In its commit.
    fn in_commit(error: DbErr, attempt: u32) -> Self {
        if commit_may_be_repeated(&error, attempt) {
            Self::ForNow(error.into())
        } else {
            Self::ForGood(error.into())
        }
    }
}

async fn once<T, E, W>(db: &DatabaseConnection, work: &W, attempt: u32) -> Result<T, Broken<E>>
where
    T: Send,
    E: From<DbErr> + Error + Send + 'static,
    W: for<'t> Fn(&'t DatabaseTransaction) -> BoxFuture<'t, Result<T, E>> + Send + Sync,
{
    let backend = db.get_database_backend();
    let begun = heard(begin(db, None)).await;
    let transaction = begun.map_err(|error| Broken::off(error.into(), backend, attempt))?;
    match unless_silent(SILENCE, work(&transaction)).await {
        Some(Ok(answer)) => {
            let committed = heard(transaction.commit()).await;
            committed.map_err(|error| Broken::in_commit(error, attempt))?;
            Ok(answer)
        }
        Some(Err(error)) => {
            if let Err(error) = heard(transaction.rollback()).await {
                // The connection is broken; the database rolls back by itself.
                tracing::debug!(error = &error as &dyn Error, "a rollback failed");
            }
            Err(Broken::off(error, backend, attempt))
        }
        // There is nobody who would hear of a rollback.
        None => Err(Broken::ForGood(silent().into())),
    }
}

async fn heard<T>(said: impl Future<Output = Result<T, DbErr>> + Send) -> Result<T, DbErr> {
    unless_silent(SILENCE, said)
        .await
        .unwrap_or_else(|| Err(silent()))
}

/// What the database said, if it is behind the error.
fn of_database<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e DbErr> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(said) = error.downcast_ref() {
            return Some(said);
        }
        next = error.source();
    }
    None
}
