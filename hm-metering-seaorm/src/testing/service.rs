//! Databases on servers for tests.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::{ConnectOptions, Connection, Error};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr};
use sea_orm_migration::MigratorTrait;
use uuid::Uuid;

use crate::migration::Migrator;

/// How long a server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a server, to make and drop databases on it.
pub(super) type Admin<S> = <<S as Service>::Options as ConnectOptions>::Connection;

/// What is different for each kind of server.
pub(super) trait Service: std::fmt::Debug + Send + Sync + Sized + 'static {
    type Options: ConnectOptions<Connection: Sized + Send>;

    /// What it is called.
    const NAME: &'static str;
    /// The setting that says where it is.
    const VARIABLE: &'static str;
    /// Where it is unless that is set.
    const DEFAULT_URL: &'static str;

    /// The same server, and this database on it.
    fn at(server: Self::Options, database: &str) -> Self::Options;

    /// Makes an empty database.
    fn create(admin: &mut Admin<Self>, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Drops a database, even when others are connected to it.
    fn remove(admin: &mut Admin<Self>, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Brings an empty database to where the migration brings it.
    fn migrate(database: &DatabaseConnection) -> impl Future<Output = Result<(), DbErr>> + Send {
        Migrator::up(database, None)
    }
}

/// A database that is dropped with this value.
#[derive(Debug)]
pub(super) struct OwnDatabase<S: Service> {
    server: S::Options,
    name: String,
}

impl<S: Service> OwnDatabase<S> {
    /// Makes one; `None` when nothing answers and a test may do without.
    pub(super) async fn create() -> Result<Option<Self>, DbErr> {
        let url = setting(S::VARIABLE).unwrap_or_else(|| S::DEFAULT_URL.to_owned());
        let server = S::Options::from_str(&url)
            .map_err(failure)?
            .disable_statement_logging();
        let mut admin = match within(server.connect()).await {
            Ok(admin) => admin,
            Err(Error::Io(_) | Error::PoolTimedOut) if !is_required() => {
                say_skipped(S::NAME, S::VARIABLE);
                return Ok(None);
            }
            Err(error) => return Err(failure(error)),
        };
        // A name that no other test's database has.
        let name = format!("hm_test_{}", Uuid::now_v7().simple());
        S::create(&mut admin, &name).await.map_err(failure)?;
        Ok(Some(Self { server, name }))
    }

    pub(super) fn url(&self) -> String {
        S::at(self.server.clone(), &self.name).to_url_lossy().to_string()
    }
}

impl<S: Service> Drop for OwnDatabase<S> {
    /// Drops the database from wherever this is called, and says so when it can't.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A thread with a runtime of its own, since this may run inside one or outside any.
        let dropped = std::thread::spawn(move || -> Result<(), Error> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut admin = within(server.connect()).await?;
                within(S::remove(&mut admin, &name)).await?;
                admin.close().await
            })
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!(
                "the test database {} could not be dropped: {dropped:?}",
                self.name
            );
        }
    }
}

/// Does something on a server that has to answer in time.
async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| Error::PoolTimedOut)?
}

fn failure(error: Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

fn is_required() -> bool {
    setting("HM_REQUIRE_SERVICES").as_deref() == Some("1")
}

#[expect(
    clippy::disallowed_methods,
    reason = "test support has no configuration to read it from"
)]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Says so past the test runner, which keeps what a test prints to itself when the test passes.
fn say_skipped(service: &str, variable: &str) {
    let text = format!(
        "SKIPPED on {service}: nothing answers at {variable} or its default; HM_REQUIRE_SERVICES=1 makes this a failure\n"
    );
    // A standard error that is closed hears nothing; the test goes on.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
