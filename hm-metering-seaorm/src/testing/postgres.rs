//! A PostgreSQL server.

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::{AssertSqlSafe, Error, Executor};

use super::service::{Admin, Service};

#[derive(Debug)]
pub(super) struct Postgres;

impl Service for Postgres {
    type Options = PgConnectOptions;

    const NAME: &'static str = "PostgreSQL";
    const VARIABLE: &'static str = "HM_TEST_POSTGRES_URL";
    const DEFAULT_URL: &'static str = "postgres://postgres@127.0.0.1:5432/postgres";

    fn at(server: PgConnectOptions, database: &str) -> PgConnectOptions {
        server.database(database)
    }

    async fn create(admin: &mut Admin<Self>, name: &str) -> Result<(), Error> {
        // template0 accepts no connections, so nobody can be in the way of copying it.
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        admin.execute(AssertSqlSafe(create)).await.map(drop)
    }

    async fn remove(admin: &mut Admin<Self>, name: &str) -> Result<(), Error> {
        let remove = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        admin.execute(AssertSqlSafe(remove)).await.map(drop)
    }
}
