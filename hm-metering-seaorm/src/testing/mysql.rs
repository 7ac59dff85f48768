//! A MariaDB or MySQL server.

use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::{AssertSqlSafe, Error, Executor, query_scalar};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use sea_orm_migration::MigratorTrait;
use tokio::sync::OnceCell;

use crate::connect::{Options, connect};
use crate::migration::Migrator;

use super::service::{Admin, OwnDatabase, Service};

/// Which connections use a database. The comment that begins with `M` is read by MariaDB alone, the other by MySQL alone, whose
/// list of processes can't be read while one of them runs a statement with bytes in it that are no text.
const CONNECTIONS: &str = "SELECT \
    /*M! CAST(id AS SIGNED) FROM information_schema.processlist WHERE db */ \
    /*!80000 CAST(processlist_id AS SIGNED) FROM performance_schema.threads \
    WHERE processlist_id IS NOT NULL AND processlist_db */ = ?";

#[derive(Debug)]
pub(super) struct MySql;

impl Service for MySql {
    type Options = MySqlConnectOptions;

    const NAME: &'static str = "MariaDB";
    const VARIABLE: &'static str = "HM_TEST_MYSQL_URL";
    const DEFAULT_URL: &'static str = "mysql://root@127.0.0.1:3306/";

    fn at(server: MySqlConnectOptions, database: &str) -> MySqlConnectOptions {
        server.database(database)
    }

    async fn create(admin: &mut Admin<Self>, name: &str) -> Result<(), Error> {
        // A default that none of our tables may depend on.
        let create = format!("CREATE DATABASE {name} CHARACTER SET latin1");
        admin.execute(AssertSqlSafe(create)).await.map(drop)
    }

    async fn remove(admin: &mut Admin<Self>, name: &str) -> Result<(), Error> {
        // Whoever is in the middle of a transaction there would be waited for.
        let connections: Vec<i64> = query_scalar(CONNECTIONS)
            .bind(name)
            .fetch_all(&mut *admin)
            .await?;
        for connection in connections {
            // It may have gone by itself.
            let _ = admin.execute(AssertSqlSafe(format!("KILL {connection}"))).await;
        }
        let remove = format!("DROP DATABASE IF EXISTS {name}");
        admin.execute(AssertSqlSafe(remove)).await.map(drop)
    }

    async fn migrate(database: &DatabaseConnection) -> Result<(), DbErr> {
        let schema = SCHEMA.get_or_try_init(schema).await?;
        database.execute_unprepared(schema).await.map(drop)
    }
}

/// The schema as its migration leaves it, as statements. Its many steps take this server most of a second, so they are
/// done once in a process.
static SCHEMA: OnceCell<String> = OnceCell::const_new();

async fn schema() -> Result<String, DbErr> {
    let own = OwnDatabase::<MySql>::create().await?;
    let own = own.ok_or_else(|| DbErr::Custom("the server for tests has gone".to_owned()))?;
    let database = connect(&own.url(), &Options::default()).await?;
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
