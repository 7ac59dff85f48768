//! MariaDB and MySQL.

use sea_orm::sqlx::mysql::{MySql, MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::{AssertSqlSafe, Error, Executor};
use sea_orm::{DatabaseConnection, DbErr, SqlxMySqlConnector};

use super::{Options, checked, pool};

pub(super) async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    let url = match url.strip_prefix("mariadb:") {
        Some(rest) => format!("mysql:{rest}"),
        None => url.to_owned(),
    };
    // The driver would add to the server's mode; ours is set whole, below.
    let connect = checked::<MySqlConnectOptions>(&url)?
        .pipes_as_concat(false)
        .no_engine_substitution(false);
    let session = session(options);
    let prepared = pool::of::<MySql>(options.connections_max, options)
        .after_connect(move |connection, _| Box::pin(prepare(connection, session.clone())));
    let pool = pool::open(prepared, pool::logged(connect, options), options.connect_timeout).await?;
    Ok(SqlxMySqlConnector::from_sqlx_mysql_pool(pool))
}

async fn prepare(connection: &mut MySqlConnection, session: String) -> Result<(), Error> {
    connection
        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .await?;
    connection.execute(AssertSqlSafe(session)).await?;
    Ok(())
}

/// What holds for a session, whatever the server is set to. The comment that begins with `M` is read by MariaDB alone, the
/// other by MySQL alone.
fn session(options: &Options) -> String {
    let millis = options.statement_timeout.as_millis().clamp(1, 31_536_000_000);
    format!(
        "SET time_zone = '+00:00', \
         sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         foreign_key_checks = 1, unique_checks = 1, \
         /*M! max_statement_time = {seconds}.{rest:03}, idle_transaction_timeout = {idle}, */ \
         /*!80000 max_execution_time = {millis}, wait_timeout = 60, */ \
         innodb_lock_wait_timeout = {rows}, lock_wait_timeout = {tables}",
        seconds = millis / 1_000,
        rest = millis % 1_000,
        // Rounded down, to stay below those who wait for the answer.
        rows = options.lock_timeout.as_secs().clamp(1, 31_536_000),
        tables = millis.div_ceil(1_000),
        idle = options
            .transaction_idle_timeout
            .as_millis()
            .clamp(1, 31_536_000_000)
            .div_ceil(1_000),
    )
}
