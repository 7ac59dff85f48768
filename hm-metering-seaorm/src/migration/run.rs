//! Bringing a schema up or down: by one process at a time, and never by one that is older than the schema.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use sea_orm::sea_query::{Alias, Query};
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait,
};
use sea_orm_migration::MigratorTrait;

#[cfg(any(feature = "postgres", feature = "mysql"))]
use super::turn;
use crate::connect::{silent, unless_silent};

/// How often a schema is tried to be brought up, and the pause between attempts.
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(250);

/// How long the database may say nothing where it only tells what is there. A step may take as long as it takes.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// Why a schema was left as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum MigrateError {
    /// Steps have been applied that this program does not know: a newer version was here. Nothing was changed.
    TooNew(Vec<String>),
    /// Steps are missing that this program needs. Nothing was changed.
    TooOld(Vec<String>),
    /// The database, or a step.
    Database(DbErr),
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooNew(steps) => write!(
                f,
                "the database's schema is newer than this program: it does not know {}; use the version that made the schema, \
                 or a later one",
                steps.join(", ")
            ),
            Self::TooOld(steps) => write!(
                f,
                "the database's schema is older than this program: {} must be applied first",
                steps.join(", ")
            ),
            Self::Database(_) => f.write_str("the database's schema can't be changed or looked at"),
        }
    }
}

impl std::error::Error for MigrateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Database(error) => Some(error),
            Self::TooNew(_) | Self::TooOld(_) => None,
        }
    }
}

impl From<DbErr> for MigrateError {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

/// What is known of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Whether it has been applied.
    pub applied: bool,
    /// Whether this program knows it.
    pub known: bool,
}

/// All steps that the program or the database knows: those of the program in their order, then the others.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn status<M: MigratorTrait>(db: &DatabaseConnection) -> Result<Vec<Step>, DbErr> {
    steps::<M>(db).await
}

async fn steps<M: MigratorTrait>(db: &impl ConnectionTrait) -> Result<Vec<Step>, DbErr> {
    let table = M::migration_table_name().to_string();
    let read = unless_silent(SILENCE, applied(db, &table)).await;
    let mut applied = read.unwrap_or_else(|| Err(silent()))?;
    let mut steps: Vec<Step> = M::migrations()
        .iter()
        .map(|migration| Step {
            name: migration.name().to_owned(),
            applied: applied.remove(migration.name()),
            known: true,
        })
        .collect();
    steps.extend(applied.into_iter().map(|name| Step {
        name,
        applied: true,
        known: false,
    }));
    Ok(steps)
}

/// The steps that the database remembers. It is only read: there may be no right to do more, and nobody who does.
async fn applied(db: &impl ConnectionTrait, table: &str) -> Result<BTreeSet<String>, DbErr> {
    let backend = db.get_database_backend();
    let (name, is_there) = match backend {
        // Wherever the session looks for tables, not only where it makes them.
        DbBackend::Postgres => (format!("\"{table}\""), "SELECT to_regclass($1) IS NOT NULL AS it"),
        DbBackend::MySql => (
            table.to_owned(),
            "SELECT COUNT(*) > 0 AS it FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = ?",
        ),
        _ => (
            table.to_owned(),
            "SELECT COUNT(*) > 0 AS it FROM sqlite_master WHERE type = 'table' AND name = ?",
        ),
    };
    let is_there = Statement::from_sql_and_values(backend, is_there, [name.into()]);
    let row = db.query_one_raw(is_there).await?;
    if !row.map_or(Ok(false), |row| row.try_get("", "it"))? {
        return Ok(BTreeSet::new());
    }
    let select = Query::select()
        .column(Alias::new("version"))
        .from(Alias::new(table))
        .to_owned();
    let rows = db.query_all(&select).await?;
    rows.iter().map(|row| row.try_get("", "version")).collect()
}

/// Demands that the schema is the one that `M` makes.
///
/// # Errors
///
/// [`MigrateError::TooNew`], [`MigrateError::TooOld`], or the database doesn't answer.
pub async fn must_be_current<M: MigratorTrait>(db: &DatabaseConnection) -> Result<(), MigrateError> {
    let steps = steps::<M>(db).await?;
    must_be_known(&steps)?;
    let missing: Vec<_> = steps
        .into_iter()
        .filter(|step| !step.applied)
        .map(|step| step.name)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(MigrateError::TooOld(missing))
    }
}

fn must_be_known(steps: &[Step]) -> Result<(), MigrateError> {
    let unknown: Vec<_> = steps
        .iter()
        .filter(|step| !step.known)
        .map(|step| step.name.clone())
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(MigrateError::TooNew(unknown))
    }
}

/// Brings the schema to `M`'s newest version. Of several processes that do so at the same time one works, and the others
/// wait and find the work done: for ten minutes at most, and the log says for which session. Servers of the version before may
/// go on working. A schema that is there already is only read, so that no right to change it is needed.
///
/// On servers a step waits for a table for three seconds at most. Then it begins again, twelve times in all, and on PostgreSQL
/// all before it is undone as well, so that a backup or a long question does not stop everybody else for as long as it takes.
/// On MariaDB and MySQL two connections are made for it, beside those of `db`.
///
/// # Errors
///
/// [`MigrateError::TooNew`], or the last attempt's error. On SQLite and PostgreSQL all steps are taken or none; elsewhere
/// each by itself. Either way the call can be repeated.
pub async fn up<M: MigratorTrait>(db: &DatabaseConnection) -> Result<(), MigrateError> {
    let mut attempt = 1;
    loop {
        match change::<M>(db, Way::Up).await {
            Err(MigrateError::Database(error)) if attempt < ATTEMPTS => {
                tracing::info!(
                    attempt,
                    error = &error as &dyn std::error::Error,
                    "the schema is tried again"
                );
                tokio::time::sleep(PAUSE).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Takes back the last `count` steps.
///
/// # Errors
///
/// As [`up`]; it is tried once. On MariaDB and MySQL some of the steps may have been taken back by then: [`status`] tells.
pub async fn down<M: MigratorTrait>(db: &DatabaseConnection, count: u32) -> Result<(), MigrateError> {
    change::<M>(db, Way::Down(count)).await
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down(u32),
}

impl Way {
    /// Whether there is nothing to do, so that nobody has to be waited for, and no right to change the schema is needed.
    fn is_gone(self, steps: &[Step]) -> bool {
        match self {
            Self::Up => steps.iter().all(|step| step.applied),
            Self::Down(count) => count == 0 || !steps.iter().any(|step| step.applied),
        }
    }
}

async fn change<M: MigratorTrait>(db: &DatabaseConnection, way: Way) -> Result<(), MigrateError> {
    let steps = steps::<M>(db).await?;
    must_be_known(&steps)?;
    if way.is_gone(&steps) {
        return Ok(());
    }
    match db.get_database_backend() {
        #[cfg(feature = "postgres")]
        DbBackend::Postgres => {
            let turn = turn::on_postgres(db).await?;
            let taken = take::<M, _>(&turn, way).await;
            end(turn, taken).await
        }
        #[cfg(feature = "mysql")]
        DbBackend::MySql => {
            let mut turn = turn::OnMySql::take(db).await?;
            let steps = turn.connection();
            let taken = turn.hold(take::<M, _>(&steps, way)).await;
            turn.end().await;
            taken
        }
        _ => {
            // The transaction begins with the one right to write.
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            };
            let turn = db.begin_with_options(options).await?;
            let taken = take::<M, _>(&turn, way).await;
            end(turn, taken).await
        }
    }
}

/// All steps, or none.
async fn end(turn: DatabaseTransaction, taken: Result<(), MigrateError>) -> Result<(), MigrateError> {
    match taken {
        Ok(()) => turn.commit().await?,
        Err(_) => {
            if let Err(error) = turn.rollback().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "a rollback failed");
            }
        }
    }
    taken
}

async fn take<'c, M, C>(db: &'c C, way: Way) -> Result<(), MigrateError>
where
    M: MigratorTrait,
    C: ConnectionTrait,
    &'c C: sea_orm_migration::IntoSchemaManagerConnection<'c>,
{
    // Whoever had the turn before may have done it.
    let steps = steps::<M>(db).await?;
    must_be_known(&steps)?;
    if way.is_gone(&steps) {
        return Ok(());
    }
    match way {
        Way::Up => M::up(db, None).await?,
        Way::Down(count) => M::down(db, Some(count)).await?,
    }
    Ok(())
}
