//! PostgreSQL.

use std::net::IpAddr;
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgSslMode, Postgres};
use sea_orm::{DatabaseConnection, DbErr, SqlxPostgresConnector};

use super::{Options, checked, pool};

pub(super) async fn connect(url: &str, options: &Options) -> Result<DatabaseConnection, DbErr> {
    let url = match url.strip_prefix("postgresql:") {
        Some(rest) => format!("postgres:{rest}"),
        None => url.to_owned(),
    };
    let mut connect = checked::<PgConnectOptions>(&url)?
        .application_name("hm-metering")
        .options(session(options));
    // What it is when the address doesn't say, too.
    let is_preferred = matches!(connect.get_ssl_mode(), PgSslMode::Prefer);
    if is_preferred && is_on_this_machine(connect.get_host()) {
        // Nobody listens there. With TLS the driver writes a large statement in several pieces, of which the last waits for
        // the server's acknowledgement of the one before: 40 ms each time.
        connect = connect.ssl_mode(PgSslMode::Disable);
    }
    let pool = pool::open(
        pool::on_server::<Postgres>(options.connections_max, options),
        pool::logged(connect, options),
        options.connect_timeout,
    )
    .await?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// What holds for a session, whatever the server, the database or the role is set to.
fn session(options: &Options) -> impl Iterator<Item = (&'static str, String)> {
    // Zero would be for ever, and more than this is no number there.
    let millis = |time: Duration| time.as_millis().clamp(1, 2_147_483_647).to_string();
    let limits = [
        ("statement_timeout", options.statement_timeout),
        ("lock_timeout", options.lock_timeout),
        (
            "idle_in_transaction_session_timeout",
            options.transaction_idle_timeout,
        ),
    ];
    limits.map(|(name, time)| (name, millis(time))).into_iter().chain(
        DEFAULTS
            .into_iter()
            .chain(PEER)
            .map(|(name, value)| (name, value.to_owned())),
    )
}

/// What our statements depend on. Where tables are looked for, and whether anything may be written, is left to who set it.
const DEFAULTS: [(&str, &str); 2] = [
    ("default_transaction_isolation", "read committed"),
    ("standard_conforming_strings", "on"),
];

/// How the server finds out that the other end is no longer there: after a minute without a sign of life, not after the two hours
/// that systems have by default. It means nothing, and does no harm, where a session isn't over TCP.
const PEER: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "60000"),
];

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
