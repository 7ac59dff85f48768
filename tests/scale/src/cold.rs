//! Keys that are not in memory, beside one indexed `SELECT`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hm_metering::usage::{Batch, Outcome, Recorded};
use hm_metering::{
    Admit, Call, Meter, Operation, OperationName, Plan, Plans, StoreResult, StoredKeyVerifier, UsageSink,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::{KeyHash, api_key};
use hm_metering_seaorm::sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use http::{HeaderMap, HeaderValue, Method};

use crate::fill::World;
use crate::times::Times;

/// How many keys of each kind are looked up.
const KEYS: usize = 2_000;

/// Admits requests with keys that nobody has used, in turns with one indexed `SELECT` for a key.
pub async fn measure(store: &SeaOrmStore, world: &World) {
    let plan = Plan::new("pro");
    let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), world.peppers.clone()))
        .plans(Plans::new([plan]).expect("a plan"))
        .usage(Nowhere)
        .start()
        .await
        .expect("a meter");
    let operation = Arc::new(Operation::new(OperationName::from_static("data.query")));
    let (mut selects, mut admissions) = (Vec::new(), Vec::new());
    for pair in world.presented.chunks_exact(2).take(KEYS) {
        let digest = world.peppers.digests(&pair[0])[0];
        let began = Instant::now();
        let found = api_key::Entity::find()
            .filter(api_key::Column::KeyHash.eq(KeyHash(digest.as_bytes().to_vec())))
            .one(store.connection())
            .await;
        assert!(found.expect("an answer").is_some(), "the key is there");
        selects.push(began.elapsed());

        let mut headers = HeaderMap::new();
        headers.insert(
            "x-api-key",
            HeaderValue::from_str(pair[1].expose()).expect("a key"),
        );
        let began = Instant::now();
        let decided = meter.admit(&operation, Call::new(&Method::GET, &headers, "/api/v1/data"));
        let Admit::Pending(decided) = decided else {
            panic!("the key was in memory");
        };
        let admission = decided.await.expect("the key is good");
        admissions.push(began.elapsed());
        admission.finish(Outcome::Completed);
    }
    let (selects, admissions) = (Times::new(selects), Times::new(admissions));
    println!("| one indexed SELECT of a key | {} |", selects.line());
    println!("| a request with a cold key, admitted | {} |", admissions.line());
    println!(
        "| cold key ÷ SELECT, p99 | {:.2} |",
        admissions.at(0.99) / selects.at(0.99)
    );
    meter.shutdown(Duration::from_secs(10)).await;
}

struct Nowhere;

#[async_trait::async_trait]
impl UsageSink for Nowhere {
    async fn record(&self, _: &Batch) -> StoreResult<Recorded> {
        Ok(Recorded::New)
    }
}
