//! What databases on servers for tests have in common.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::Error;
use sea_orm::{DbErr, RuntimeErr};
use uuid::Uuid;

/// How long a server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A name that no other test's database has.
pub(super) fn new_name() -> String {
    format!("hm_test_{}", Uuid::now_v7().simple())
}

#[expect(
    clippy::disallowed_methods,
    reason = "test support has no configuration to read it from"
)]
pub(super) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Connects; `None` when nothing answers and a test may do without.
pub(super) async fn reach<C>(
    connecting: impl Future<Output = Result<C, Error>>,
    service: &str,
    variable: &str,
) -> Result<Option<C>, DbErr> {
    match within(connecting).await {
        Ok(connection) => Ok(Some(connection)),
        Err(Error::Io(_) | Error::PoolTimedOut) if setting("HM_REQUIRE_SERVICES").as_deref() != Some("1") => {
            say_skipped(service, variable);
            Ok(None)
        }
        Err(error) => Err(failure(error)),
    }
}

/// Does something on a server that has to answer in time.
pub(super) async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| Error::PoolTimedOut)?
}

pub(super) fn failure(error: Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))
}

/// Drops a database from wherever this is called, and says so when it can't.
pub(super) fn drop_now<F>(name: &str, dropping: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = Result<(), Error>>,
{
    // A thread with a runtime of its own, since this may run inside one or outside any.
    let dropped = std::thread::spawn(move || -> Result<(), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(dropping())
    })
    .join();
    if !matches!(dropped, Ok(Ok(()))) {
        eprintln!("the test database {name} could not be dropped: {dropped:?}");
    }
}

/// Says so past the test runner, which keeps what a test prints to itself when the test passes.
fn say_skipped(service: &str, variable: &str) {
    let text = format!(
        "SKIPPED on {service}: nothing answers at {variable} or its default; HM_REQUIRE_SERVICES=1 makes this a failure\n"
    );
    // A standard error that is closed hears nothing; the test goes on.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
