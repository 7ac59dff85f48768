//! PostgreSQL.

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{DatabaseConnection, DbErr};

use super::{Options, checked, common};

pub(super) async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    let url = match url.strip_prefix("postgresql:") {
        Some(rest) => format!("postgres:{rest}"),
        None => url.to_owned(),
    };
    checked::<PgConnectOptions>(&url)?;
    let mut connect = common(&url, options);
    connect
        .max_connections(options.connections_max)
        .idle_timeout(options.idle_timeout)
        .statement_timeout(options.statement_timeout)
        .set_application_name("hm-metering");
    sea_orm::Database::connect(connect).await
}
