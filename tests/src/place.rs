//! Where a server keeps its data: a folder and a database of its own for each test.

use std::path::Path;

use hm_metering_seaorm::connect::{Options, connect, connect_reader};
use hm_metering_seaorm::sea_orm::DatabaseConnection;
use hm_metering_seaorm::testing::TestDatabase;
use tempfile::TempDir;

/// A folder and an empty database; both go away with this value.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    postgres: Option<TestDatabase>,
}

impl Place {
    /// On an SQLite file that is not there yet.
    #[must_use]
    pub fn on_sqlite() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            postgres: None,
        }
    }

    /// On a PostgreSQL database of its own; `None` when no server answers, which is said on standard error.
    ///
    /// # Panics
    ///
    /// When no server answers and `HM_REQUIRE_SERVICES=1`.
    pub async fn on_postgres() -> Option<Self> {
        let database = TestDatabase::empty_postgres()
            .await
            .expect("a PostgreSQL database for this test");
        database.map(|database| Self {
            folder: tempfile::tempdir().unwrap(),
            postgres: Some(database),
        })
    }

    /// The folder that servers work in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database's address.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.postgres {
            Some(database) => database.url().to_owned(),
            None => format!("sqlite://{}", self.folder.path().join("hm.sqlite").display()),
        }
    }

    /// A connection to look at the database behind the server's back.
    ///
    /// # Panics
    ///
    /// When there is no database yet.
    pub async fn look(&self) -> DatabaseConnection {
        let (url, options) = (self.url(), Options::default());
        match connect_reader(&url, &options).await.expect("a database to read") {
            Some(reader) => reader,
            None => connect(&url, &options).await.expect("a database to read"),
        }
    }
}

/// Makes a test of each function, on every kind of database: `name_on_sqlite` and `name_on_postgres`.
#[macro_export]
macro_rules! on_every_database {
    ($($story:ident => $sqlite:ident, $postgres:ident;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sqlite() {
                $story($crate::place::Place::on_sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $postgres() {
                if let Some(place) = $crate::place::Place::on_postgres().await {
                    $story(place).await;
                }
            }
        )+
    };
}
