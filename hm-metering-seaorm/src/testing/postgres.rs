//! Databases on a PostgreSQL server.

use std::str::FromStr;

use sea_orm::DbErr;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection};
use sea_orm::sqlx::{AssertSqlSafe, ConnectOptions, Connection, Error, Executor};

use super::service::{drop_now, failure, new_name, reach, setting, within};

const DEFAULT_URL: &str = "postgres://postgres@127.0.0.1:5432/postgres";

/// A database that is dropped with this value.
#[derive(Debug)]
pub(super) struct OwnDatabase {
    server: String,
    name: String,
    url: String,
}

impl OwnDatabase {
    pub(super) async fn create() -> Result<Option<Self>, DbErr> {
        let server = setting("HM_TEST_POSTGRES_URL").unwrap_or_else(|| DEFAULT_URL.to_owned());
        let Some(mut admin) = reach(open(&server), "PostgreSQL", "HM_TEST_POSTGRES_URL").await? else {
            return Ok(None);
        };
        let name = new_name();
        // template0 accepts no connections, so nobody can be in the way of copying it.
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        admin.execute(AssertSqlSafe(create)).await.map_err(failure)?;
        let url = PgConnectOptions::from_str(&server)
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
        let server = std::mem::take(&mut self.server);
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        drop_now(&self.name, || async move {
            let mut admin = within(open(&server)).await?;
            admin.execute(AssertSqlSafe(drop)).await?;
            admin.close().await
        });
    }
}

async fn open(server: &str) -> Result<PgConnection, Error> {
    PgConnectOptions::from_str(server)?
        .disable_statement_logging()
        .connect()
        .await
}
