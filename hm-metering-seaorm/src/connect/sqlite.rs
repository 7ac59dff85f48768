//! SQLite: one writer, and readers that don't wait for it.

use std::path::Path;

use sea_orm::sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{DatabaseConnection, DbErr, SqlxSqliteConnector};

use super::{Options, checked, connection_error, pool};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

pub(super) async fn connect(
    url: &str,
    options: &Options,
    access: Access,
) -> Result<DatabaseConnection, DbErr> {
    let address: SqliteConnectOptions = checked(url)?;
    let file = is_file(url);
    let create = file && access == Access::Write && !mode_is_fixed(url);
    if create {
        make_folder(&address)?;
    }
    let connections = match access {
        Access::Write => 1,
        Access::Read => options.readers_max,
    };
    let pool = pool::of::<Sqlite>(connections, options)
        // A database in memory lives as long as its one connection, and there is no network for one to grow old on.
        .idle_timeout((file && access == Access::Read).then_some(options.idle_timeout))
        .max_lifetime(None);
    let connect = address.foreign_keys(true).busy_timeout(options.statement_timeout);
    let connect = match (file, access) {
        (true, Access::Write) => {
            let connect = if create {
                connect.create_if_missing(true)
            } else {
                connect
            };
            connect
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(if options.sqlite_full_sync {
                    SqliteSynchronous::Full
                } else {
                    SqliteSynchronous::Normal
                })
        }
        // Opening the file itself read-only would fail where the write-ahead log is still to be made.
        (true, Access::Read) => connect.pragma("query_only", "ON"),
        (false, _) => connect,
    };
    let pool = pool::open(pool, pool::logged(connect, options), options.connect_timeout).await?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

pub(super) fn is_file(url: &str) -> bool {
    !url.contains(":memory:") && !query(url).contains("mode=memory")
}

fn mode_is_fixed(url: &str) -> bool {
    query(url)
        .split('&')
        .any(|pair| pair == "mode=ro" || pair == "mode=rw")
}

fn query(url: &str) -> &str {
    url.split_once('?').map_or("", |(_, query)| query)
}

fn make_folder(address: &SqliteConnectOptions) -> Result<(), DbErr> {
    match address.get_filename().parent() {
        Some(folder) if folder != Path::new("") => {
            std::fs::create_dir_all(folder).map_err(|error| connection_error(error.into()))
        }
        _ => Ok(()),
    }
}
