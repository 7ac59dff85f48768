//! Databases that fall silent: their host lost its power, or what is between drops all packets and tells nobody.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr};
use tokio::time::{Instant, sleep};

/// Does `work` until nothing has moved in it for `limit`: neither an answer nor a part of one has come. `None` then.
///
/// The database's own limits, such as [`Options::statement_timeout`](super::Options::statement_timeout), must be less: their
/// answer is waited for here. Work that takes long in many steps is left alone, however long that is.
///
/// Work that is given up is dropped, which closes its connection, and the pool has a place for another. A transaction is undone
/// then, unless it was in its commit. Dropping the future does the same.
pub async fn unless_silent<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut over = pin!(sleep(limit));
    poll_fn(|context| {
        let is_over = over.as_mut().poll(context).is_ready();
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        if is_over {
            return Poll::Ready(None);
        }
        // It was woken by what it waits for.
        over.as_mut().reset(Instant::now() + limit);
        // It wakes this task from now on; its time can't have come yet.
        let _ = over.as_mut().poll(context);
        Poll::Pending
    })
    .await
}

/// The error of a database that says nothing any more.
#[must_use]
pub fn silent() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(
        "the database says nothing any more".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_in_many_steps_takes_as_long_as_it_takes() {
        let limit = Duration::from_secs(2);
        let steps = async {
            for _ in 0..10 {
                sleep(limit / 8).await;
            }
            "done"
        };
        assert_eq!(unless_silent(limit, steps).await, Some("done"));
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_which_nothing_moves_is_given_up() {
        let silent = async {
            tokio::task::yield_now().await;
            std::future::pending::<()>().await;
        };
        let began = Instant::now();
        let limit = Duration::from_millis(100);
        let given_up = tokio::time::timeout(Duration::from_secs(60), unless_silent(limit, silent)).await;
        assert_eq!(given_up, Ok(None));
        assert!(began.elapsed() < limit * 2);
    }
}
