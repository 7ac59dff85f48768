//! What is between a store and its database falls silent: nothing comes back, and nobody is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hm_metering::QuotaStore;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, TransactionTrait};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Options, SeaOrmStore};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::fixtures::{account, ask, counter, holder, store};

/// Together more than the pool has connections, so that those that are lost for ever would be missed.
const ROUNDS: usize = 4;
const POOL: u32 = 3;

/// A way to a database. Connections that are there when it falls silent stay silent for ever.
struct Way {
    address: SocketAddr,
    is_silent: Arc<watch::Sender<bool>>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_silent = Arc::new(watch::Sender::new(false));
        let told = Arc::clone(&is_silent);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), told.subscribe()));
            }
        });
        Self { address, is_silent }
    }
}

async fn pass_on(mut client: TcpStream, server: String, mut is_silent: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = is_silent.wait_for(|is_silent| *is_silent) => {}
    }
    // Both stay open until the test is over.
    while is_silent.changed().await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_again_and_again_costs_no_connection() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let key = counter(account(&store(&database).await).await);
        let (before, rest) = database.url().split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let way = Way::to(server.to_owned()).await;
        let limit = Duration::from_millis(300);
        let options = Options {
            connections_max: POOL,
            acquire_timeout: limit,
            statement_timeout: limit,
            operation_timeout: limit,
            ..Options::default()
        };
        let url = format!("{before}@{}/{name}", way.address);
        let store = SeaOrmStore::connect_with(&url, &options).await.unwrap();
        for _ in 0..ROUNDS {
            leases(&store, &key).await;
            // In the middle of as many transactions as there are connections: they wait for a row.
            let held = database.connection().begin().await.unwrap();
            let hold = "UPDATE quota_counters SET updated_at = updated_at + 1";
            held.execute_unprepared(hold).await.unwrap();
            let mut transactions = Vec::new();
            for _ in 0..POOL {
                let (store, ask) = (store.clone(), ask(holder(), 1, &key, 1_000, 1));
                transactions.push(tokio::spawn(async move { store.lease(&ask).await }));
            }
            while idle(&store) != 0 {
                tokio::task::yield_now().await;
            }
            way.is_silent.send_replace(true);
            held.rollback().await.unwrap();
            for transaction in transactions {
                assert!(transaction.await.unwrap().is_err());
            }
            while store.lease(&ask(holder(), 1, &key, 1_000, 1)).await.is_ok() {}
            way.is_silent.send_replace(false);
        }
        leases(&store, &key).await;
        // A connection that is silent may still be waited for.
        drop(store.close().await);
        database.close().await.unwrap();
    }
}

/// How many connections nobody uses.
fn idle(store: &SeaOrmStore) -> usize {
    let db = store.connection();
    match db.get_database_backend() {
        DbBackend::Postgres => db.get_postgres_connection_pool().num_idle(),
        _ => db.get_mysql_connection_pool().num_idle(),
    }
}

/// Waits until as many can be served at once as there are connections.
async fn leases(store: &SeaOrmStore, key: &hm_metering::quota::QuotaKey) {
    let all = async {
        loop {
            let asks: Vec<_> = (0..POOL).map(|_| ask(holder(), 1, key, 1_000, 1)).collect();
            let leases = asks.iter().map(|ask| store.lease(ask));
            if futures_util::future::join_all(leases)
                .await
                .iter()
                .all(Result::is_ok)
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .expect("the store serves again");
}
