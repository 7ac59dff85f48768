//! Small values to test with.

use hm_metering::key::KeyDigest;
use hm_metering::keys::{IpAllow, KeyLimits, KeyQuotas, NewKey};
use hm_metering::period::Period;
use hm_metering::quota::{FencingToken, Holder, LeaseAsk, QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome};
use hm_metering::{
    AccountId, EventId, KeyEnv, KeyId, MeterName, OperationName, PlanId, ReplicaId, Timestamp, Units, UserId,
};
use hm_metering_seaorm::entity::account;
use hm_metering_seaorm::sea_orm::{ActiveModelTrait, ConnectionTrait, DbBackend, IntoActiveModel, Statement};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Options, SeaOrmStore};
use uuid::Uuid;

/// 2026-11-22T06:00:00Z
pub const NOW: Timestamp = Timestamp::from_micros(1_795_327_200_000_000);

pub fn later(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + seconds * 1_000_000)
}

/// A store of its own pools on the database. Where many lease the same on a busy machine, they wait for each other.
pub async fn store(database: &TestDatabase) -> SeaOrmStore {
    SeaOrmStore::connect_with(database.url(), &patient())
        .await
        .unwrap()
}

/// Leases wait for rows as long as statements may take.
pub fn patient() -> Options {
    Options {
        lock_timeout: Options::default().statement_timeout,
        ..Options::default()
    }
}

/// Whether the database is on a MySQL server, and not on MariaDB. They call themselves so, but for the name.
pub async fn is_on_mysql(database: &TestDatabase) -> bool {
    let db = database.connection();
    if db.get_database_backend() != DbBackend::MySql {
        return false;
    }
    let version = Statement::from_string(DbBackend::MySql, "SELECT VERSION()");
    let row = db.query_one_raw(version).await.unwrap().unwrap();
    !row.try_get_by_index::<String>(0).unwrap().contains("MariaDB")
}

pub async fn account(store: &SeaOrmStore) -> AccountId {
    let id = Uuid::new_v4();
    let row = account::Model {
        id,
        name: "Ada".into(),
        tier: "free".into(),
        tier_version: 0,
        created_at: NOW.as_micros(),
        updated_at: NOW.as_micros(),
        closed_at: None,
        next_tier: None,
        next_tier_at: None,
    };
    row.into_active_model()
        .reset_all()
        .insert(store.connection())
        .await
        .unwrap();
    AccountId::from_uuid(id)
}

pub fn new_key(account: AccountId) -> NewKey {
    let id = Uuid::new_v4();
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(id.as_bytes());
    NewKey {
        id: KeyId::from_uuid(id),
        account,
        user: UserId::from_uuid(Uuid::new_v4()),
        digest: KeyDigest::from_bytes(digest),
        pepper: u16::MAX,
        slow_hash: None,
        name: "build server".into(),
        prefix: "hm_live_abcd".into(),
        last4: "wxyz".into(),
        env: KeyEnv::Live,
        scopes: vec!["data:read".into()],
        ip_allow: IpAllow::default(),
        limits: KeyLimits::default(),
        quotas: KeyQuotas::default(),
        not_before: None,
        expires_at: None,
        metadata: [("team".to_owned(), "ü".to_owned())].into(),
        created_at: NOW,
    }
}

pub fn holder() -> Holder {
    Holder {
        replica: ReplicaId::from_uuid(Uuid::new_v4()),
        epoch: u64::MAX,
    }
}

pub fn counter(account: AccountId) -> QuotaKey {
    let start = Timestamp::from_micros(NOW.as_micros() - 86_400_000_000);
    QuotaKey {
        account,
        key: None,
        meter: MeterName::REQUESTS,
        period: Period {
            start,
            end: later(86_400),
        },
    }
}

pub fn ask(holder: Holder, operation: u64, key: &QuotaKey, limit: u32, want: u32) -> LeaseAsk {
    LeaseAsk {
        holder,
        operation,
        key: key.clone(),
        since: None,
        limit: Units::from(limit),
        want: Units::from(want),
        now: NOW,
        until: later(60),
    }
}

pub fn event(account: AccountId, key: Option<KeyId>) -> Event {
    Event {
        id: EventId::from_uuid(Uuid::new_v4()),
        at: NOW,
        account,
        user: key.map(|_| UserId::from_uuid(Uuid::new_v4())),
        key,
        operation: OperationName::from_static("data.query"),
        endpoint: "/api/v1/data".into(),
        method: "GET".into(),
        source: Some("wiki".into()),
        status: 200,
        grpc_status: None,
        outcome: Outcome::Completed,
        refusal: None,
        would_refuse: None,
        units: vec![(MeterName::REQUESTS, Units::ONE)],
        over: false,
        response_time_us: 1_500,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: "r".into(),
        replica: ReplicaId::from_uuid(Uuid::from_u128(7)),
        tags: Vec::new(),
    }
}

pub fn settlement(key: &QuotaKey, lease: Option<FencingToken>, units: u32) -> Settlement {
    Settlement {
        key: key.clone(),
        plan: PlanId::from_static("free"),
        limit: Some(Units::new(1_000)),
        lease,
        units: Units::from(units),
    }
}

pub fn batch(holder: Holder, number: u64, events: Vec<Event>, settlements: Vec<Settlement>) -> Batch {
    let id = BatchId {
        replica: holder.replica,
        epoch: holder.epoch,
        number,
    };
    Batch {
        id,
        created_at: NOW,
        events,
        settlements,
    }
}
