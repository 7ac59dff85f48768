//! Hearing of changes from PostgreSQL, so that the feed can be read before its time.
//!
//! Whoever writes to the feed notifies; what is heard is the place of the change. Nothing depends on it: what is missed
//! while the connection is away is found by reading the feed, at the interval it is read at anyway, or when the
//! connection is back.

use std::sync::OnceLock;
use std::time::Duration;

use sea_orm::sqlx::Error;
use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, Statement};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::feed;
use crate::store::run::pause;

const CHANNEL: &str = "hm_metering_changes";
/// How long one attempt to connect or to read may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After this many attempts in vain the pause between them grows no more.
const LONGEST_PAUSE: u32 = 10;

/// Tells those who listen that the feed has come to `seq`, once the transaction commits.
pub(super) async fn notify(transaction: &DatabaseTransaction, seq: i64) -> Result<(), DbErr> {
    if transaction.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    let values = [CHANNEL.into(), seq.to_string().into()];
    let notify = Statement::from_sql_and_values(DbBackend::Postgres, "SELECT pg_notify($1, $2)", values);
    transaction.query_one_raw(notify).await.map(|_| ())
}

/// One connection that listens, from the first time that somebody waits until it is dropped.
#[derive(Default)]
pub(in crate::store) struct Listener(OnceLock<Ears>);

struct Ears {
    heard: watch::Receiver<i64>,
    task: AbortHandle,
}

impl Listener {
    /// Waits until the feed has come further than `seq`. For ever where nobody can be heard.
    pub(super) async fn beyond(&self, db: &DatabaseConnection, seq: i64) {
        if db.get_database_backend() == DbBackend::Postgres {
            let ears = self.0.get_or_init(|| Ears::open(db.clone()));
            if ears.heard.clone().wait_for(|heard| *heard > seq).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }

    pub(in crate::store) fn stop(&self) {
        if let Some(ears) = self.0.get() {
            ears.task.abort();
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Ears {
    fn open(db: DatabaseConnection) -> Self {
        let (said, heard) = watch::channel(i64::MIN);
        let task = tokio::spawn(listen_on(db, said)).abort_handle();
        Self { heard, task }
    }
}

/// Listens, on one connection after the other, with longer pauses while there is none to be had.
async fn listen_on(db: DatabaseConnection, said: watch::Sender<i64>) {
    let mut attempt = 1;
    loop {
        match listen(&db, &said, &mut attempt).await {
            Ok(()) => tracing::debug!("the connection that hears of changes was lost"),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "changes can't be heard of for now"
            ),
        }
        tokio::time::sleep(pause(attempt)).await;
        attempt = (attempt + 1).min(LONGEST_PAUSE);
    }
}

/// Listens until the connection breaks.
async fn listen(db: &DatabaseConnection, said: &watch::Sender<i64>, attempt: &mut u32) -> Result<(), Error> {
    // A pool of its own: what listens for ever must take nothing from those who ask.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(PATIENCE)
        .connect_lazy_with(
            db.get_postgres_connection_pool()
                .connect_options()
                .as_ref()
                .clone(),
        );
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    // What was committed before somebody listened is in the feed by now.
    let last = tokio::time::timeout(PATIENCE, feed::last(db)).await;
    let last = last
        .map_err(|_| Error::PoolTimedOut)?
        .map_err(|error| Error::Io(std::io::Error::other(error)))?;
    said.send_modify(|heard| *heard = last.max(*heard));
    *attempt = 1;
    while let Some(notification) = listener.try_recv().await? {
        if let Ok(seq) = notification.payload().parse::<i64>() {
            said.send_modify(|heard| *heard = seq.max(*heard));
        }
    }
    Ok(())
}
