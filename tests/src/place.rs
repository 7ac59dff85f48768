//! Where a server keeps its data: a folder and a database of its own for each test.

use std::net::SocketAddr;
use std::path::Path;

use hm_metering_seaorm::connect::{Options, connect, connect_reader};
use hm_metering_seaorm::sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, TransactionTrait,
};
use hm_metering_seaorm::testing::TestDatabase;
use tempfile::TempDir;

use crate::address::Address;

/// A folder and an empty database; both go away with this value.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    database: Option<TestDatabase>,
    /// Of a server that is the test's own.
    url: Option<String>,
}

impl Place {
    /// On an SQLite file that is not there yet.
    #[must_use]
    pub fn on_sqlite() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: None,
            url: None,
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
        database.map(Self::on)
    }

    /// On a MariaDB or MySQL database of its own; `None` when no server answers, which is said on standard error.
    ///
    /// # Panics
    ///
    /// When no server answers and `HM_REQUIRE_SERVICES=1`.
    pub async fn on_mysql() -> Option<Self> {
        let database = TestDatabase::empty_mysql()
            .await
            .expect("a MariaDB database for this test");
        database.map(Self::on)
    }

    fn on(database: TestDatabase) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: Some(database),
            url: None,
        }
    }

    /// On the empty database at an address, on a server of the test's own.
    ///
    /// # Panics
    ///
    /// When there is no place for a folder.
    #[must_use]
    pub fn at(url: String) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: None,
            url: Some(url),
        }
    }

    /// The folder that servers work in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The database's address.
    #[must_use]
    pub fn url(&self) -> String {
        match (&self.url, &self.database) {
            (Some(url), _) => url.clone(),
            (None, Some(database)) => database.url().to_owned(),
            (None, None) => format!("sqlite://{}", self.folder.path().join("hm.sqlite").display()),
        }
    }

    /// The database's address, for a server that reaches it by way of `address`.
    ///
    /// # Panics
    ///
    /// When it is a file.
    #[must_use]
    pub fn url_by_way_of(&self, address: SocketAddr) -> String {
        Address::of(&self.url()).by_way_of(address)
    }

    /// Where the database's server listens.
    ///
    /// # Panics
    ///
    /// When it is a file.
    #[must_use]
    pub fn database_server(&self) -> String {
        let url = self.url();
        let address = Address::of(&url);
        format!("{}:{}", address.host, address.port)
    }

    /// Takes the SQLite file's one right to write.
    ///
    /// # Panics
    ///
    /// When there is no database yet.
    pub async fn lock(&self) -> WriteLock {
        let database = connect(&self.url(), &Options::default())
            .await
            .expect("a database to write to");
        let transaction = database.begin().await.expect("a transaction");
        transaction
            .execute_unprepared("UPDATE users SET id = id")
            .await
            .expect("the right to write");
        WriteLock {
            transaction,
            database,
        }
    }

    /// A connection to change the database behind the server's back.
    ///
    /// # Panics
    ///
    /// When there is no database yet.
    pub async fn open(&self) -> DatabaseConnection {
        connect(&self.url(), &Options::default())
            .await
            .expect("a database to write to")
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

/// Keeps everybody else from writing to an SQLite file.
#[derive(Debug)]
pub struct WriteLock {
    transaction: DatabaseTransaction,
    database: DatabaseConnection,
}

impl WriteLock {
    /// Lets others write again.
    ///
    /// # Panics
    ///
    /// When the database does not answer.
    pub async fn release(self) {
        self.transaction.rollback().await.expect("the end of the lock");
        self.database.close().await.expect("the end of writing");
    }
}

/// Makes a test of each function, on every kind of database: `name_on_sqlite`, `name_on_postgres` and, where it is named,
/// `name_on_mariadb`.
#[macro_export]
macro_rules! on_every_database {
    ($($story:ident => $sqlite:ident, $postgres:ident $(, $mysql:ident)?;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $sqlite() {
                $story($crate::place::Place::on_sqlite()).await;
            }

            $crate::on_servers!($story => $postgres $(, $mysql)?;);
        )+
    };
}

/// Makes a test of each function, on every kind of database that several servers can share: `name_on_postgres` and, where
/// it is named, `name_on_mariadb`.
#[macro_export]
macro_rules! on_servers {
    ($($story:ident => $postgres:ident $(, $mysql:ident)?;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $postgres() {
                if let Some(place) = $crate::place::Place::on_postgres().await {
                    $story(place).await;
                }
            }

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $mysql() {
                    if let Some(place) = $crate::place::Place::on_mysql().await {
                        $story(place).await;
                    }
                }
            )?
        )+
    };
}
