//! What the databases really say when something goes wrong, and what we make of it. Nothing here is made up: each error is
//! brought about on a server or a file.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod access;
mod constraints;
mod lost;
mod races;
mod sqlite;
mod times;

use std::time::Duration;

use hm_metering::StoreErrorKind;
use sea_orm::sqlx::Error;
use sea_orm::sqlx::mysql::MySqlDatabaseError;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement};

use super::{kind_of, lost_a_race, lost_the_connection};
use crate::connect::{Options, connect};
use crate::testing::TestDatabase;

/// What a database said, and what we make of it.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    /// Its own code; MariaDB's number.
    code: String,
    kind: StoreErrorKind,
    /// Tried again at once.
    race: bool,
    /// Tried again on another connection.
    connection: bool,
}

impl Said {
    fn of(error: &DbErr) -> Self {
        Self {
            code: code(error),
            kind: kind_of(error),
            race: lost_a_race(error),
            connection: lost_the_connection(error),
        }
    }

    /// What is not tried again.
    fn plainly(code: &str, kind: StoreErrorKind) -> Self {
        Self {
            code: code.to_owned(),
            kind,
            race: false,
            connection: false,
        }
    }
}

fn code(error: &DbErr) -> String {
    let (DbErr::Conn(RuntimeErr::SqlxError(driver))
    | DbErr::Exec(RuntimeErr::SqlxError(driver))
    | DbErr::Query(RuntimeErr::SqlxError(driver))) = error
    else {
        panic!("not of the driver: {error:?}");
    };
    let Error::Database(said) = driver.as_ref() else {
        panic!("not of the database: {error:?}");
    };
    match said.try_downcast_ref::<MySqlDatabaseError>() {
        Some(said) => said.number().to_string(),
        None => said.code().unwrap().into_owned(),
    }
}

/// Runs a statement that must fail.
async fn fails(db: &impl ConnectionTrait, sql: &str) -> Said {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    match db.execute_raw(statement).await {
        Ok(_) => panic!("went well: {sql}"),
        Err(error) => Said::of(&error),
    }
}

async fn does(db: &impl ConnectionTrait, sql: &str) {
    db.execute_unprepared(sql).await.unwrap();
}

/// One number that the database answers.
async fn number(db: &impl ConnectionTrait, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// The databases on servers that are there.
async fn on_servers() -> Vec<TestDatabase> {
    let servers = [
        TestDatabase::empty_postgres().await,
        TestDatabase::empty_mysql().await,
    ];
    servers.into_iter().filter_map(Result::unwrap).collect()
}

/// What fits to the kind of server.
fn either<T>(db: &impl ConnectionTrait, postgres: T, mysql: T) -> T {
    match db.get_database_backend() {
        DbBackend::Postgres => postgres,
        _ => mysql,
    }
}

/// Whether a server is MySQL, and not MariaDB.
async fn is_mysql(db: &impl ConnectionTrait) -> bool {
    let version = "SELECT VERSION() NOT LIKE '%MariaDB%'";
    db.get_database_backend() == DbBackend::MySql && number(db, version).await == 1
}

/// Two tables of which one names the other, with three rows in the first.
async fn tables(db: &DatabaseConnection) {
    does(
        db,
        "CREATE TABLE parents (id INTEGER NOT NULL PRIMARY KEY, name VARCHAR(8) NOT NULL UNIQUE, size SMALLINT)",
    )
    .await;
    does(
        db,
        "CREATE TABLE children (id INTEGER NOT NULL PRIMARY KEY, parent INTEGER NOT NULL, weight INTEGER, \
         FOREIGN KEY (parent) REFERENCES parents (id), CHECK (weight > 0))",
    )
    .await;
    does(
        db,
        "INSERT INTO parents VALUES (1, 'one', 0), (2, 'two', 0), (3, 'three', 0)",
    )
    .await;
}

/// Another pool on the same database, whose statements end soon.
async fn impatient(database: &TestDatabase) -> DatabaseConnection {
    let options = Options {
        connections_max: 2,
        statement_timeout: Duration::from_millis(200),
        ..Options::default()
    };
    connect(database.url(), &options).await.unwrap()
}
