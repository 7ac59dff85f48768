//! SQLite: one writer, and readers that don't wait for it.

use std::path::Path;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{Database, DatabaseConnection, DbErr};

use super::{Options, checked, common, connection_error};

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
    let busy_timeout = options.statement_timeout;
    let mut connect = common(url, options);
    connect
        .max_connections(if access == Access::Read {
            options.readers_max
        } else {
            1
        })
        // A database in memory lives as long as its one connection.
        .idle_timeout((file && access == Access::Read).then_some(options.idle_timeout))
        .max_lifetime(None)
        .map_sqlx_sqlite_opts(move |sqlite: SqliteConnectOptions| {
            let sqlite = sqlite.foreign_keys(true).busy_timeout(busy_timeout);
            match (file, access) {
                (true, Access::Write) => {
                    let sqlite = if create {
                        sqlite.create_if_missing(true)
                    } else {
                        sqlite
                    };
                    sqlite
                        .journal_mode(SqliteJournalMode::Wal)
                        .synchronous(SqliteSynchronous::Normal)
                }
                // Opening the file itself read-only would fail where the write-ahead log is still to be made.
                (true, Access::Read) => sqlite.pragma("query_only", "ON"),
                (false, _) => sqlite,
            }
        });
    Database::connect(connect).await
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
