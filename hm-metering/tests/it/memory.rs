//! What the store in memory promises beyond the traits.

use hm_metering::conformance::Accounts;
use hm_metering::key::{KeyDigest, KeyEnv};
use hm_metering::keys::NewKey;
use hm_metering::page::PageRequest;
use hm_metering::usage::{Batch, BatchId, Event, Outcome, Recorded, UsageQuery};
use hm_metering::{
    AccountId, KeyId, KeyStore, MemoryStore, MeterName, OperationName, PlanId, Timestamp, Units, UsageSink,
    UsageStore,
};
use uuid::Uuid;

use crate::conformance::MemoryAccounts;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_770_000_000_000_000 + seconds * 1_000_000)
}

fn event(account: AccountId, key: Option<KeyId>, outcome: Outcome, seconds: i64) -> Event {
    Event {
        id: Uuid::now_v7().into(),
        at: at(seconds),
        account,
        user: None,
        key,
        operation: OperationName::from_static("data.query"),
        endpoint: "/data".into(),
        method: "GET".into(),
        source: None,
        status: 200,
        grpc_status: None,
        outcome,
        refusal: None,
        would_refuse: None,
        units: vec![(MeterName::REQUESTS, Units::ONE)],
        over: false,
        response_time_us: 10,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: String::new(),
        replica: Uuid::from_u128(7).into(),
        tags: Vec::new(),
    }
}

fn batch(number: u64, events: Vec<Event>) -> Batch {
    Batch {
        id: BatchId {
            replica: Uuid::from_u128(7).into(),
            epoch: 1,
            number,
        },
        created_at: at(0),
        events,
        settlements: Vec::new(),
    }
}

#[tokio::test]
async fn recording_counts_the_uses_of_the_accounts_keys_once() {
    let store = MemoryStore::new();
    let accounts = MemoryAccounts(store.clone());
    let (account, user) = accounts.add(&PlanId::from_static("free"), at(0)).await;
    let (stranger, _) = accounts.add(&PlanId::from_static("free"), at(0)).await;
    let key = NewKey {
        id: Uuid::now_v7().into(),
        account,
        user,
        digest: KeyDigest::from_bytes([1; 32]),
        pepper: 1,
        slow_hash: None,
        name: String::new(),
        prefix: String::new(),
        last4: String::new(),
        env: KeyEnv::Live,
        scopes: Vec::new(),
        ip_allow: Default::default(),
        limits: Default::default(),
        quotas: Default::default(),
        not_before: None,
        expires_at: None,
        metadata: Default::default(),
        created_at: at(0),
    };
    store.insert(&key).await.unwrap();
    let used = Some(key.id);
    let events = vec![
        event(account, used, Outcome::Completed, 9),
        event(account, used, Outcome::Panicked, 5),
        event(account, used, Outcome::Refused, 20),
        event(account, used, Outcome::NotReached, 21),
        event(account, None, Outcome::Completed, 22),
        event(account, Some(Uuid::now_v7().into()), Outcome::Completed, 23),
        event(stranger, used, Outcome::Completed, 24),
    ];
    let batch = batch(1, events);
    for expected in [Recorded::New, Recorded::Repeated] {
        assert_eq!(store.record(&batch).await.unwrap(), expected);
        let record = store.get(account, key.id).await.unwrap().unwrap();
        assert_eq!((record.usage_count, record.last_used_at), (2, Some(at(9))));
        assert_eq!(record.version, 1);
    }
}

#[tokio::test]
async fn the_oldest_events_leave_when_the_store_is_full_and_batches_stay_known() {
    let store = MemoryStore::new().with_event_capacity(3);
    let account = Uuid::now_v7().into();
    let of_second = |second| event(account, None, Outcome::Completed, second);
    let first = batch(1, vec![of_second(5), of_second(1), of_second(3)]);
    let second = batch(2, vec![of_second(4), of_second(2)]);
    store.record(&first).await.unwrap();
    store.record(&second).await.unwrap();
    let query = UsageQuery::new(account, at(0), at(10));
    let page = store.recent(&query, &PageRequest::first(10)).await.unwrap();
    let times: Vec<_> = page.items.iter().map(|event| event.at).collect();
    assert_eq!(times, [at(5), at(4), at(3)]);
    assert_eq!(store.totals(&query).await.unwrap().requests, 3);
    for batch in [first, second] {
        assert_eq!(store.record(&batch).await.unwrap(), Recorded::Repeated);
    }
    assert_eq!(store.totals(&query).await.unwrap().requests, 3);
}
