//! PostgreSQL.

use std::net::IpAddr;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode, Postgres};
use sea_orm::{DatabaseConnection, DbErr, SqlxPostgresConnector};

use super::{Options, checked, pool};

pub(super) async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    let url = match url.strip_prefix("postgresql:") {
        Some(rest) => format!("postgres:{rest}"),
        None => url.to_owned(),
    };
    // Zero would be for ever, and more than this is no number there.
    let millis = options.statement_timeout.as_millis().clamp(1, 2_147_483_647);
    let mut connect = checked::<PgConnectOptions>(&url)?
        .application_name("hm-metering")
        .options([("statement_timeout", millis.to_string())]);
    // What it is when the address doesn't say, too.
    let is_preferred = matches!(connect.get_ssl_mode(), PgSslMode::Prefer);
    if is_preferred && is_on_this_machine(connect.get_host()) {
        // Nobody listens there. With TLS the driver writes a large statement in several pieces, of which the last waits for
        // the server's acknowledgement of the one before: 40 ms each time.
        connect = connect.ssl_mode(PgSslMode::Disable);
    }
    let pool = pool::open(
        pool::of::<Postgres>(options.connections_max, options),
        pool::logged(connect, options),
        options.connect_timeout,
    )
    .await?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

fn is_on_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_are_told_from_others() {
        for host in ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"] {
            assert!(is_on_this_machine(host), "{host}");
        }
        for host in ["db.example.org", "10.0.0.1", "localhost.example.org", "::2", ""] {
            assert!(!is_on_this_machine(host), "{host}");
        }
    }
}
