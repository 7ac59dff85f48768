//! What is flushed: the requests of a hundred accounts in a few minutes.

use hm_metering::key::KeyDigest;
use hm_metering::keys::{IpAllow, KeyLimits, KeyQuotas, NewKey};
use hm_metering::period::Period;
use hm_metering::quota::{Holder, QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome};
use hm_metering::{
    AccountId, EventId, KeyEnv, KeyId, KeyStore, MeterName, OperationName, PlanId, ReplicaId, Timestamp,
    Units, UserId,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

const ACCOUNTS: usize = 100;
/// 2026-11-22T06:00:00Z
const START: i64 = 1_795_327_200_000_000;
const DAY: i64 = 86_400_000_000;

pub struct Work {
    pub store: SeaOrmStore,
    callers: Vec<(AccountId, UserId, KeyId)>,
    holder: Holder,
    made: u64,
    batches: u64,
}

impl Work {
    pub async fn on(database: &TestDatabase) -> Self {
        let store = SeaOrmStore::connect(database.url()).await.unwrap();
        let mut callers = Vec::new();
        for _ in 0..ACCOUNTS {
            let account = AccountId::from_uuid(Uuid::now_v7());
            let (user, key) = (UserId::from_uuid(Uuid::now_v7()), Uuid::now_v7());
            let now = Timestamp::from_micros(START);
            let plan = PlanId::from_static("free");
            store.open_account(account, "Ada", &plan, now).await.unwrap();
            let mut digest = [0; 32];
            digest[..16].copy_from_slice(key.as_bytes());
            store
                .insert(&NewKey {
                    id: KeyId::from_uuid(key),
                    account,
                    user,
                    digest: KeyDigest::from_bytes(digest),
                    pepper: 1,
                    slow_hash: None,
                    name: "bench".into(),
                    prefix: "hm_live_abcd".into(),
                    last4: "wxyz".into(),
                    env: KeyEnv::Live,
                    scopes: Vec::new(),
                    ip_allow: IpAllow::default(),
                    limits: KeyLimits::default(),
                    quotas: KeyQuotas::default(),
                    not_before: None,
                    expires_at: None,
                    metadata: Default::default(),
                    created_at: now,
                })
                .await
                .unwrap();
            callers.push((account, user, KeyId::from_uuid(key)));
        }
        let replica = ReplicaId::from_uuid(Uuid::now_v7());
        Self {
            store,
            callers,
            holder: Holder { replica, epoch: 1 },
            made: 0,
            batches: 0,
        }
    }

    pub fn events(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.event()).collect()
    }

    fn event(&mut self) -> Event {
        self.made += 1;
        let (account, user, key) = self.callers[self.made as usize * 7 % ACCOUNTS];
        Event {
            id: EventId::from_uuid(Uuid::now_v7()),
            at: Timestamp::from_micros(START + self.made as i64 * 100),
            account,
            user: Some(user),
            key: Some(key),
            operation: OperationName::from_static("data.query"),
            endpoint: "/api/v1/data/{source}".into(),
            method: "GET".into(),
            source: Some("wiki".into()),
            status: 200,
            grpc_status: None,
            outcome: Outcome::Completed,
            refusal: None,
            would_refuse: None,
            units: vec![(MeterName::REQUESTS, Units::ONE)],
            over: false,
            response_time_us: 1_000 + self.made % 997,
            first_byte_us: Some(900 + self.made % 97),
            bytes_in: 0,
            bytes_out: 512,
            request_id: format!("req_{:026}", self.made),
            replica: self.holder.replica,
            tags: Vec::new(),
        }
    }

    pub fn batch(&mut self, count: usize) -> Batch {
        self.batches += 1;
        let settlement = |(account, ..): &(AccountId, UserId, KeyId)| Settlement {
            key: QuotaKey {
                account: *account,
                key: None,
                meter: MeterName::REQUESTS,
                period: Period {
                    start: Timestamp::from_micros(START - START % DAY),
                    end: Timestamp::from_micros(START - START % DAY + DAY),
                },
            },
            plan: PlanId::from_static("free"),
            limit: Some(Units::new(1_000_000_000)),
            lease: None,
            units: Units::new((count / ACCOUNTS) as u64),
        };
        Batch {
            id: BatchId {
                replica: self.holder.replica,
                epoch: self.holder.epoch,
                number: self.batches,
            },
            created_at: Timestamp::from_micros(START + self.made as i64 * 100),
            settlements: self.callers.iter().map(settlement).collect(),
            events: self.events(count),
        }
    }
}
