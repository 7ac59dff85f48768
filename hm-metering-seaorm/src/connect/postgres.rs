//! PostgreSQL.

use sea_orm::sqlx::postgres::{PgConnectOptions, Postgres};
use sea_orm::{DatabaseConnection, DbErr, SqlxPostgresConnector};

use super::{Options, checked, pool};

pub(super) async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    let url = match url.strip_prefix("postgresql:") {
        Some(rest) => format!("postgres:{rest}"),
        None => url.to_owned(),
    };
    // Zero would be for ever, and more than this is no number there.
    let millis = options.statement_timeout.as_millis().clamp(1, 2_147_483_647);
    let connect = checked::<PgConnectOptions>(&url)?
        .application_name("hm-metering")
        .options([("statement_timeout", millis.to_string())]);
    let pool = pool::open(
        pool::of::<Postgres>(options.connections_max, options),
        pool::logged(connect, options),
        options.connect_timeout,
    )
    .await?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}
