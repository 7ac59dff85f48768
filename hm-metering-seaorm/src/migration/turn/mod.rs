//! The one right to change a schema, among all processes that use it.
//!
//! It is asked for again and again, not waited for in the database: so it is in nobody's way, no limit of the session breaks the
//! wait off, and the log says who has it.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;

use std::time::Duration;

use sea_orm::DbErr;
use tokio::time::{Instant, sleep};

#[cfg(feature = "mysql")]
pub(super) use self::mysql::OnMySql;
#[cfg(feature = "postgres")]
pub(super) use self::postgres::on_postgres;

/// How long another process is waited for in all, how often it is looked, and how often the log says so.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(200);
const SAID_EVERY: Duration = Duration::from_secs(15);

/// Waiting for another process that changes the schema.
struct Waiting {
    since: Instant,
    patience: Duration,
    said: Option<Instant>,
}

impl Waiting {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            patience: PATIENCE,
            said: None,
        }
    }

    /// Waits for a moment, while `session` of the database has the right. None is one that has just ended, or can't be seen.
    ///
    /// # Errors
    ///
    /// When it has been waited for too long.
    async fn pause(&mut self, session: Option<i64>) -> Result<(), DbErr> {
        let session = session.map_or_else(|| "unknown".to_owned(), |session| session.to_string());
        if self.since.elapsed() >= self.patience {
            return Err(DbErr::Custom(format!(
                "another process has been changing the schema for too long: session {session} of the database"
            )));
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            self.said = Some(Instant::now());
            tracing::info!(
                session,
                waited_s = self.since.elapsed().as_secs(),
                "another process is changing the schema and is waited for"
            );
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_process_is_waited_for_with_an_end_and_then_named() {
        let mut waiting = Waiting {
            patience: 3 * PAUSE,
            ..Waiting::begin()
        };
        let waits = async {
            loop {
                if let Err(error) = waiting.pause(Some(4_711)).await {
                    return error;
                }
            }
        };
        let error = tokio::time::timeout(Duration::from_secs(60), waits)
            .await
            .unwrap();
        assert!(error.to_string().contains("session 4711"), "{error}");
    }
}
