//! On MariaDB and MySQL: a named lock of a session of its own. Every change of a table ends a transaction there, so the steps are
//! taken one by one, on another connection.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::{Connection, MySql, query, query_scalar};
use sea_orm::{DatabaseConnection, DbErr, SqlxMySqlConnector};
use tokio::time::{MissedTickBehavior, interval};

use super::Waiting;
use crate::connect::{connection_error, mysql, silent, unless_silent};
use crate::migration::MigrateError;
use crate::migration::run::SILENCE;

/// A name that other databases on the server don't have, and that is not too long whatever the database is called.
macro_rules! with_name {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            "CONCAT('hm-steps-', LEFT(SHA2(DATABASE(), 256), 40))",
            $after
        )
    };
}
const TAKE: &str = with_name!("SELECT CAST(GET_LOCK(", ", 0) AS SIGNED)");
const HOLDER: &str = with_name!("SELECT CAST(IS_USED_LOCK(", ") AS SIGNED)");
const RELEASE: &str = with_name!("DO RELEASE_LOCK(", ")");

/// How often the session that has the lock shows that it is alive; it is ended after a minute without that.
const ALIVE: Duration = Duration::from_secs(10);

/// The right, until it is given back or its session ends.
pub(in super::super) struct OnMySql {
    steps: DatabaseConnection,
    lock: PoolConnection<MySql>,
}

impl OnMySql {
    /// Waits for it.
    pub(in super::super) async fn take(db: &DatabaseConnection) -> Result<Self, DbErr> {
        // They take nothing from the others, of which there may be one, and have bounds of their own.
        let pool = mysql::for_steps(db.get_mysql_connection_pool());
        let mut lock = pool.acquire().await.map_err(connection_error)?;
        let steps = SqlxMySqlConnector::from_sqlx_mysql_pool(pool);
        let mut waiting = Waiting::begin();
        loop {
            // None when the server could not tell.
            let is_ours: Option<i64> = ask(&mut lock, TAKE).await?;
            if is_ours == Some(1) {
                return Ok(Self { steps, lock });
            }
            let holder = ask(&mut lock, HOLDER).await?;
            waiting.pause(holder).await?;
        }
    }

    /// Where the steps are to be taken.
    pub(in super::super) fn connection(&self) -> DatabaseConnection {
        self.steps.clone()
    }

    /// Does `work` while the lock is known to be held.
    pub(in super::super) async fn hold(
        &mut self,
        work: impl Future<Output = Result<(), MigrateError>>,
    ) -> Result<(), MigrateError> {
        let mut work = pin!(work);
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            match select(work.as_mut(), pin!(alive.tick())).await {
                Either::Left((done, _)) => return done,
                Either::Right(_) => match unless_silent(SILENCE, self.lock.ping()).await {
                    Some(answer) => answer.map_err(connection_error)?,
                    None => return Err(silent().into()),
                },
            }
        }
    }

    /// Gives it back. Where that can't be said, it ends with the connections.
    pub(in super::super) async fn end(mut self) {
        let released = query(RELEASE).execute(&mut *self.lock).await;
        drop(self.lock);
        let closed = self.steps.close().await;
        if let Err(error) = released.map_err(connection_error).and(closed) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "the right to change the schema ends with its session"
            );
        }
    }
}

async fn ask(lock: &mut PoolConnection<MySql>, sql: &'static str) -> Result<Option<i64>, DbErr> {
    query_scalar(sql)
        .fetch_one(&mut **lock)
        .await
        .map_err(connection_error)
}
