//! Sizes of pools and their time-outs have the effect that they promise.

use std::future::Future;
use std::time::Duration;

use hm_metering::StoreErrorKind;
use hm_metering_seaorm::connect::{connect, connect_reader};
use hm_metering_seaorm::sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait,
};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Options, SeaOrmStore, kind_of};
use tokio::net::{TcpListener, TcpStream};

const MOMENT: Duration = Duration::from_millis(150);
const LONG: Duration = Duration::from_secs(60);

/// What must end long before the other time-outs do.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG / 4, work).await.unwrap()
}

async fn on_servers() -> Vec<TestDatabase> {
    let servers = [
        TestDatabase::empty_postgres().await,
        TestDatabase::empty_mysql().await,
    ];
    servers.into_iter().filter_map(Result::unwrap).collect()
}

/// Waits for what must become true, and not for ever.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

fn open_connections(db: &DatabaseConnection) -> u32 {
    match db.get_database_backend() {
        DbBackend::Postgres => db.get_postgres_connection_pool().size(),
        DbBackend::MySql => db.get_mysql_connection_pool().size(),
        _ => db.get_sqlite_connection_pool().size(),
    }
}

/// What the server calls the session behind a connection.
async fn session(db: &DatabaseConnection) -> i64 {
    let sql = match db.get_database_backend() {
        DbBackend::Postgres => "SELECT CAST(pg_backend_pid() AS BIGINT)",
        _ => "SELECT CAST(CONNECTION_ID() AS SIGNED)",
    };
    let statement = Statement::from_string(db.get_database_backend(), sql);
    let row = db.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

async fn holds_exactly(db: &DatabaseConnection, connections: usize) {
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(db.begin().await.unwrap());
    }
    let error = in_time(db.begin()).await.unwrap_err();
    assert_eq!(kind_of(&error), StoreErrorKind::Unavailable, "{error:?}");
    for transaction in held {
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_pool_has_as_many_connections_as_it_may_and_no_more() {
    let options = Options {
        connections_max: 3,
        readers_max: 2,
        acquire_timeout: MOMENT,
        ..Options::default()
    };
    for database in on_servers().await {
        let db = connect(database.url(), &options).await.unwrap();
        holds_exactly(&db, 3).await;
        assert!(connect_reader(database.url(), &options).await.unwrap().is_none());
        db.close().await.unwrap();
        database.close().await.unwrap();
    }
    let database = TestDatabase::sqlite().await.unwrap();
    let writer = connect(database.url(), &options).await.unwrap();
    let reader = connect_reader(database.url(), &options).await.unwrap().unwrap();
    holds_exactly(&writer, 1).await;
    holds_exactly(&reader, 2).await;
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_never_answers_ends_the_start_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let options = Options {
        connect_timeout: MOMENT,
        acquire_timeout: LONG,
        ..Options::default()
    };
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://nobody@{address}/none");
        let connecting = SeaOrmStore::connect_with(&url, &options);
        let error = in_time(connecting).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    }
}

/// Stands before a server: is silent to who comes first, and hands those who come after that on.
async fn late(server: String) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let _unanswered = listener.accept().await.unwrap();
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_late_is_waited_for_at_the_start() {
    let options = Options {
        connect_timeout: LONG,
        acquire_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    for database in on_servers().await {
        let (_, rest) = database.url().split_once('@').unwrap();
        let (server, _) = rest.split_once('/').unwrap();
        let way = late(server.to_owned()).await;
        let url = database.url().replacen(server, &way.to_string(), 1);
        let store = SeaOrmStore::connect_with(&url, &options).await.unwrap();
        store.ping().await.unwrap();
        store.close().await.unwrap();
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let options = Options {
        idle_timeout: MOMENT,
        ..Options::default()
    };
    for database in on_servers().await {
        let db = connect(database.url(), &options).await.unwrap();
        session(&db).await;
        until("the connection is closed", async || open_connections(&db) == 0).await;
        session(&db).await;
        db.close().await.unwrap();
        database.close().await.unwrap();
    }
    let database = TestDatabase::sqlite().await.unwrap();
    let writer = connect(database.url(), &options).await.unwrap();
    let reader = connect_reader(database.url(), &options).await.unwrap().unwrap();
    until("the reader is closed", async || open_connections(&reader) == 0).await;
    assert_eq!(open_connections(&writer), 1);
    reader.ping().await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn connections_to_a_server_are_replaced_when_they_are_old() {
    let options = Options {
        connections_max: 1,
        max_lifetime: MOMENT,
        ..Options::default()
    };
    for database in on_servers().await {
        let db = connect(database.url(), &options).await.unwrap();
        let first = session(&db).await;
        until("another session", async || session(&db).await != first).await;
        db.close().await.unwrap();
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn postgres_on_this_machine_is_spoken_to_without_tls_unless_it_is_required() {
    let Some(database) = TestDatabase::empty_postgres().await.unwrap() else {
        return;
    };
    let is_encrypted = async |url: &str| {
        let db = connect(url, &Options::default()).await?;
        let state = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let state = Statement::from_string(DbBackend::Postgres, state);
        let row = db.query_one_raw(state).await?.unwrap();
        db.close().await?;
        row.try_get::<bool>("", "ssl")
    };
    assert!(!is_encrypted(database.url()).await.unwrap());
    let required = database.url().replace("sslmode=prefer", "sslmode=require");
    assert_ne!(required, database.url());
    // It is, or the server has none and that is an error.
    assert!(is_encrypted(&required).await.unwrap_or(true));
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_sqlite_file_may_be_opened_by_many_at_once() {
    for round in 0..30 {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("new.sqlite").display());
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let url = url.clone();
                tokio::spawn(async move { connect(&url, &Options::default()).await })
            })
            .collect();
        for opening in opening {
            let db = opening.await.unwrap();
            db.unwrap_or_else(|error| panic!("round {round}: {error}"))
                .close()
                .await
                .unwrap();
        }
    }
}
