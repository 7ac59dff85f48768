//! What operators do from the command line: a file for each command.

mod backup;
mod check;
mod import_files;
mod import_keys;
mod import_usage;
mod leases;
mod migrate;
mod months;
mod place;
mod prune;

use hm_metering::quota::{QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome};
use hm_metering::{
    AccountId, EventId, MeterName, OperationName, PlanId, ReplicaId, Timestamp, Units, UsageSink,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_server::cli::Command;
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use self::place::NOON;

/// One request of an account.
fn event_of(account: AccountId, at: Timestamp) -> Event {
    Event {
        id: EventId::from_uuid(Uuid::new_v4()),
        at,
        account,
        user: None,
        key: None,
        operation: OperationName::from_static("data.query"),
        endpoint: "/api/v1/data".into(),
        method: "GET".into(),
        source: None,
        status: 200,
        grpc_status: None,
        outcome: Outcome::Completed,
        refusal: None,
        would_refuse: None,
        units: vec![(MeterName::REQUESTS, Units::ONE)],
        over: false,
        response_time_us: 900,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: String::new(),
        replica: ReplicaId::from_uuid(Uuid::from_u128(1)),
        tags: Vec::new(),
    }
}

async fn use_some(store: &SeaOrmStore, account: AccountId, number: u64) {
    let start = Timestamp::from_micros(NOON.as_micros() - 86_400_000_000);
    let end = Timestamp::from_micros(NOON.as_micros() + 86_400_000_000);
    let event = |place: i64| {
        event_of(
            account,
            Timestamp::from_micros(NOON.as_micros() - place * 3_600_000_000),
        )
    };
    let settlement = Settlement {
        key: QuotaKey {
            account,
            key: None,
            meter: MeterName::REQUESTS,
            period: hm_metering::period::Period { start, end },
        },
        plan: PlanId::from_static("free"),
        limit: Some(Units::new(1_000)),
        lease: None,
        units: Units::new(20),
    };
    let batch = Batch {
        id: BatchId {
            replica: ReplicaId::from_uuid(Uuid::new_v4()),
            epoch: 1,
            number,
        },
        created_at: NOON,
        events: (0..20).map(event).collect(),
        settlements: vec![settlement],
    };
    store.record(&batch).await.unwrap();
}

async fn change(store: &SeaOrmStore, sql: &str) {
    let changed = store.connection().execute_unprepared(sql).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

const CHECK: Command = Command::Check { repair: false };
const REPAIR: Command = Command::Check { repair: true };
