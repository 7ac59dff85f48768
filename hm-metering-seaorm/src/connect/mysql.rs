//! MariaDB and MySQL.

use std::time::Duration;

use sea_orm::sqlx::mysql::{MySql, MySqlConnectOptions, MySqlConnection, MySqlPool};
use sea_orm::sqlx::pool::PoolOptions;
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
    let prepared = prepared(options, &Limits::of(options));
    let pool = pool::open(prepared, pool::logged(connect, options), options.connect_timeout).await?;
    Ok(SqlxMySqlConnector::from_sqlx_mysql_pool(pool))
}

/// Two connections of their own to where a pool leads: one to hold the right to change the schema, one to change it.
///
/// A step on a great table may take longer than statements usually may. But everybody else waits behind a step that waits for
/// a table, so that is broken off.
pub(crate) fn for_steps(pool: &MySqlPool) -> MySqlPool {
    let options = Options {
        connections_max: 2,
        acquire_timeout: pool.options().get_acquire_timeout(),
        ..Options::default()
    };
    let limits = Limits {
        statement: None,
        rows: Duration::from_secs(10),
        tables: Duration::from_secs(3),
        is_brief: true,
        ..Limits::of(&options)
    };
    prepared(&options, &limits).connect_lazy_with(pool.connect_options().as_ref().clone())
}

fn prepared(options: &Options, limits: &Limits) -> PoolOptions<MySql> {
    let session = session(limits);
    pool::on_server::<MySql>(options.connections_max, options)
        .after_connect(move |connection, _| Box::pin(prepare(connection, session.clone())))
}

/// How long what may take in a session.
struct Limits {
    /// A statement; none is as long as it takes.
    statement: Option<Duration>,
    /// Waiting for rows, and for tables.
    rows: Duration,
    tables: Duration,
    /// Doing nothing in mid-transaction.
    idle: Duration,
    /// Whether it is to end soon after its client fell silent, in a transaction or not.
    is_brief: bool,
}

/// MySQL has no limit for transactions alone.
const SILENT_ON_MYSQL: &str = "/*!80000 wait_timeout = 60, */";
const SILENT: &str = "wait_timeout = 60,";

impl Limits {
    fn of(options: &Options) -> Self {
        Self {
            statement: Some(options.statement_timeout),
            rows: options.lock_timeout,
            tables: options.statement_timeout,
            idle: options.transaction_idle_timeout,
            is_brief: false,
        }
    }
}

async fn prepare(connection: &mut MySqlConnection, session: String) -> Result<(), Error> {
    connection
        .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        .await?;
    connection.execute(AssertSqlSafe(session)).await?;
    Ok(())
}

/// What holds for a session, whatever the server is set to. The comments that begin with `M` are read by MariaDB alone, the
/// others by MySQL alone.
fn session(limits: &Limits) -> String {
    const MOST: u128 = 31_536_000_000;
    let seconds = |time: Duration| time.as_millis().clamp(1, MOST).div_ceil(1_000);
    // Zero is for ever.
    let millis = limits.statement.map_or(0, |time| time.as_millis().clamp(1, MOST));
    format!(
        "SET autocommit = 1, time_zone = '+00:00', \
         sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
         foreign_key_checks = 1, unique_checks = 1, completion_type = 'NO_CHAIN', default_storage_engine = InnoDB, \
         sql_safe_updates = 0, sql_big_selects = 1, sql_auto_is_null = 0, sql_select_limit = 18446744073709551615, \
         /*M! max_statement_time = {statement}.{rest:03}, idle_transaction_timeout = {idle}, */ \
         /*!80000 max_execution_time = {millis}, */ \
         {silent} innodb_lock_wait_timeout = {rows}, lock_wait_timeout = {tables}",
        statement = millis / 1_000,
        rest = millis % 1_000,
        idle = seconds(limits.idle),
        silent = if limits.is_brief { SILENT } else { SILENT_ON_MYSQL },
        // Rounded down, to stay below those who wait for the answer.
        rows = limits.rows.as_secs().clamp(1, 31_536_000),
        tables = seconds(limits.tables),
    )
}
