//! Changes that are heard of at once, where the database can tell.

use std::sync::Arc;
use std::time::Duration;

use hm_metering::keys::KeyIssuer;
use hm_metering::meter::{Admit, Call};
use hm_metering::{
    KeyEnv, KeyId, KeyStore, Meter, Operation, OperationName, Pepper, Peppers, Plans, StoredKeyVerifier,
    UserId,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, Statement};
use hm_metering_seaorm::testing::TestDatabase;
use http::{HeaderMap, Method, StatusCode};
use uuid::Uuid;

use crate::fixtures::{NOW, account, later, store};

const HOUR: Duration = Duration::from_secs(3_600);
/// Far more than it takes, and nothing beside the hour in which the feed would be read without being told.
const SOON: Duration = Duration::from_secs(20);

/// A meter that reads its feed once in an hour unless it is told to, and a key that it has seen.
struct Replica {
    meter: Meter,
    operation: Arc<Operation>,
}

impl Replica {
    async fn on(store: &SeaOrmStore, peppers: Peppers) -> Self {
        let plans =
            Plans::from_toml("[free]\nrates = [{ name = \"second\", limit = 1000000, per_seconds = 1 }]\n")
                .unwrap();
        let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), peppers))
            .plans(plans)
            .usage(store.clone())
            .feed_interval(HOUR)
            .staleness(HOUR)
            .start()
            .await
            .unwrap();
        let operation = Arc::new(Operation::new(OperationName::from_static("data.query")));
        Self { meter, operation }
    }

    async fn lets_in(&self, headers: &HeaderMap) -> bool {
        let call = Call::new(&Method::GET, headers, "/data");
        let decision = match self.meter.admit(&self.operation, call) {
            Admit::Ready(decision) => decision,
            Admit::Pending(waiting) => waiting.await,
        };
        match decision {
            Ok(_) => true,
            Err(rejection) if rejection.status() == StatusCode::UNAUTHORIZED => false,
            Err(rejection) => panic!("{:?}", rejection.refusal()),
        }
    }

    async fn must_turn_away_soon(&self, headers: &HeaderMap) {
        let refused = async {
            while self.lets_in(headers).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, refused).await.unwrap();
    }
}

async fn issue(store: &SeaOrmStore, peppers: &Peppers) -> (hm_metering::AccountId, KeyId, HeaderMap) {
    let account = account(store).await;
    let user = UserId::from_uuid(Uuid::new_v4());
    let issuer = KeyIssuer::new(peppers.clone()).unwrap();
    let (issued, key) = issuer.issue(account, user, "a key", KeyEnv::Live, NOW).unwrap();
    store.insert(&key).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", issued.expose().parse().unwrap());
    (account, key.id, headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_another_replica_without_waiting_for_its_feed() {
    let Some(database) = TestDatabase::postgres().await.unwrap() else {
        return;
    };
    let peppers = Peppers::new(Pepper::new(1, &[7; 32]).unwrap());
    let (here, there) = (store(&database).await, store(&database).await);
    let replica = Replica::on(&here, peppers.clone()).await;
    let (account, key, headers) = issue(&there, &peppers).await;
    assert!(replica.lets_in(&headers).await);
    there.revoke(account, key, later(1)).await.unwrap();
    replica.must_turn_away_soon(&headers).await;

    // The same after the connection that listens was lost.
    let (account, key, headers) = issue(&there, &peppers).await;
    assert!(replica.lets_in(&headers).await);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    let ended = there
        .connection()
        .query_all_raw(Statement::from_string(DbBackend::Postgres, end))
        .await
        .unwrap();
    assert_eq!(ended.len(), 1, "one connection listens");
    there.revoke(account, key, later(2)).await.unwrap();
    replica.must_turn_away_soon(&headers).await;
    database.close().await.unwrap();
}
