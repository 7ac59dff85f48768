//! Databases on a MariaDB server.

use std::str::FromStr;

use sea_orm::sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error, Executor, query_scalar};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use sea_orm_migration::MigratorTrait;
use tokio::sync::OnceCell;

use crate::connect::{Options, connect};
use crate::migration::Migrator;

use super::service::{drop_now, failure, new_name, reach, setting, within};

const DEFAULT_URL: &str = "mysql://root@127.0.0.1:3306/";

/// A database that is dropped with this value.
#[derive(Debug)]
pub(super) struct OwnDatabase {
    server: String,
    name: String,
    url: String,
}

impl OwnDatabase {
    pub(super) async fn create() -> Result<Option<Self>, DbErr> {
        let server = setting("HM_TEST_MYSQL_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
        let Some(mut admin) = reach(open(&server), "MariaDB", "HM_TEST_MYSQL_URL").await? else {
            return Ok(None);
        };
        let name = new_name();
        // A default that none of our tables may depend on.
        let create = format!("CREATE DATABASE {name} CHARACTER SET latin1");
        admin.execute(AssertSqlSafe(create)).await.map_err(failure)?;
        let url = MySqlConnectOptions::from_str(&server)
            .map_err(failure)?
            .database(&name)
            .to_url_lossy()
            .to_string();
        Ok(Some(Self { server, name, url }))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for OwnDatabase {
    fn drop(&mut self) {
        let (server, name) = (std::mem::take(&mut self.server), self.name.clone());
        drop_now(&self.name, || async move {
            let mut admin = within(open(&server)).await?;
            // Whoever is in the middle of a transaction there would be waited for.
            let connections: Vec<i64> =
                query_scalar("SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = ?")
                    .bind(&name)
                    .fetch_all(&mut admin)
                    .await?;
            for connection in connections {
                // It may have gone by itself.
                let _ = admin.execute(AssertSqlSafe(format!("KILL {connection}"))).await;
            }
            let drop = format!("DROP DATABASE IF EXISTS {name}");
            within(admin.execute(AssertSqlSafe(drop))).await?;
            admin.close().await
        });
    }
}

/// The schema as its migration leaves it, as statements. Its many steps take this server most of a second, so they are
/// done once in a process.
static SCHEMA: OnceCell<String> = OnceCell::const_new();

/// Brings an empty database to where the migration would bring it.
pub(super) async fn migrate(database: &DatabaseConnection) -> Result<(), DbErr> {
    let schema = SCHEMA.get_or_try_init(schema).await?;
    database.execute_unprepared(schema).await.map(drop)
}

async fn schema() -> Result<String, DbErr> {
    let own = OwnDatabase::create().await?;
    let own = own.ok_or_else(|| DbErr::Custom("the server for tests has gone".to_owned()))?;
    let database = connect(own.url(), &Options::default()).await?;
    Migrator::up(&database, None).await?;
    let mut schema = "SET foreign_key_checks = 0".to_owned();
    for table in strings(&database, "SHOW TABLES", 0).await? {
        for statement in strings(&database, &format!("SHOW CREATE TABLE {table}"), 1).await? {
            schema.push_str("; ");
            schema.push_str(&statement);
        }
    }
    for version in strings(&database, "SELECT version FROM seaql_migrations", 0).await? {
        schema.push_str(&format!("; INSERT INTO seaql_migrations VALUES ('{version}', 0)"));
    }
    schema.push_str("; INSERT INTO key_changes_lock VALUES (1); SET foreign_key_checks = 1");
    database.close().await?;
    Ok(schema)
}

async fn strings(database: &DatabaseConnection, sql: &str, column: usize) -> Result<Vec<String>, DbErr> {
    let statement = Statement::from_string(DbBackend::MySql, sql);
    let rows = database.query_all_raw(statement).await?;
    rows.iter().map(|row| row.try_get_by_index(column)).collect()
}

async fn open(server: &str) -> Result<MySqlConnection, Error> {
    MySqlConnectOptions::from_str(server)?
        .disable_statement_logging()
        .connect()
        .await
}
