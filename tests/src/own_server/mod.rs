//! A database server of a test's own, which it may crash and start as it likes.

mod home;
mod mariadb;
mod postgres;

use self::home::Home;
use self::mariadb::MariaDb;
use self::postgres::Postgres;
use crate::skip::not_installed;

/// A server with an empty database, on a free port. It ends with this value.
#[derive(Debug)]
pub struct OwnServer {
    programs: Programs,
    home: Home,
}

#[derive(Debug)]
enum Programs {
    Postgres(Postgres),
    MariaDb(MariaDb),
}

impl OwnServer {
    /// Makes and starts a PostgreSQL server; `None` where its programs are not installed, which is said on standard error.
    ///
    /// # Panics
    ///
    /// When it does not start, or when it is not installed and `HM_REQUIRE_SERVICES=1`.
    pub async fn postgres() -> Option<Self> {
        Self::start_new(
            "a PostgreSQL server",
            Postgres::installed().map(Programs::Postgres),
        )
        .await
    }

    /// Makes and starts a MariaDB server; `None` where its programs are not installed, which is said on standard error.
    /// What it has committed is written when the commit returns (`innodb_flush_log_at_trx_commit=1`).
    ///
    /// # Panics
    ///
    /// When it does not start, or when it is not installed and `HM_REQUIRE_SERVICES=1`.
    pub async fn mariadb() -> Option<Self> {
        Self::start_new("a MariaDB server", MariaDb::installed().map(Programs::MariaDb)).await
    }

    async fn start_new(what: &str, programs: Option<Programs>) -> Option<Self> {
        let Some(programs) = programs else {
            not_installed(what);
            return None;
        };
        let user = match &programs {
            Programs::Postgres(_) => postgres::USER,
            Programs::MariaDb(_) => mariadb::USER,
        };
        let mut own = Self {
            programs,
            home: Home::of(user),
        };
        match &own.programs {
            Programs::Postgres(postgres) => postgres.make_data(&own.home).await,
            Programs::MariaDb(mariadb) => mariadb.make_data(&own.home).await,
        }
        own.start().await;
        Some(own)
    }

    /// Ends all connections and the server, without a word to anybody: `pg_ctl stop -m immediate`, `kill -9` of `mariadbd`.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub async fn crash(&mut self) {
        match &mut self.programs {
            Programs::Postgres(postgres) => postgres.crash(&self.home).await,
            Programs::MariaDb(mariadb) => mariadb.crash().await,
        }
    }

    /// Starts it again, and waits until it has recovered and is ready.
    ///
    /// # Panics
    ///
    /// When it does not get ready.
    pub async fn start(&mut self) {
        match &mut self.programs {
            Programs::Postgres(postgres) => postgres.start(&self.home).await,
            Programs::MariaDb(mariadb) => mariadb.start(&self.home).await,
        }
    }

    /// The address of the database that is there from the start.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.home.port();
        match &self.programs {
            Programs::Postgres(_) => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Programs::MariaDb(_) => format!("mysql://root@127.0.0.1:{port}/test"),
        }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        match &mut self.programs {
            Programs::Postgres(postgres) => postgres.end(&self.home),
            Programs::MariaDb(mariadb) => mariadb.end(),
        }
    }
}
