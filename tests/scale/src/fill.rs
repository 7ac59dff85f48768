//! Accounts, keys and events.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use hm_metering::id::IdSource;
use hm_metering::keys::KeyIssuer;
use hm_metering::period::{Period, PeriodRule};
use hm_metering::quota::{QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome};
use hm_metering::{
    AccountId, Clock, KeyEnv, KeyId, KeyStore, MeterName, OperationName, Pepper, Peppers, PlanId,
    PresentedKey, ReplicaId, SystemClock, Timestamp, Units, UsageSink, UserId,
};
use hm_metering_seaorm::{SeaOrmStore, operator};

use crate::random::Random;

/// How many keys an account has.
const KEYS_OF_AN_ACCOUNT: usize = 10;
/// How many keys are put in at the same time.
const AT_ONCE: usize = 8;
/// How many events a batch has, as the flusher's by default.
const BATCH: usize = 4_000;
/// Over how many days events are spread; the last one is today.
const DAYS: u64 = 60;
/// One in so many keys is kept as text, to be presented later.
const KEPT: usize = 50;

pub const PLAN: PlanId = PlanId::from_static("pro");

/// What is in the database.
pub struct World {
    pub accounts: Vec<(AccountId, Vec<KeyId>)>,
    /// Some of the keys, as their owners have them.
    pub presented: Vec<PresentedKey>,
    pub peppers: Peppers,
    pub now: Timestamp,
}

impl World {
    /// Puts so many keys into the store, and says how fast that was.
    pub async fn with_keys(store: &SeaOrmStore, keys: usize) -> Self {
        let peppers = Peppers::new(Pepper::new(1, &[7; 32]).expect("a pepper"));
        let issuer = KeyIssuer::new(peppers.clone()).expect("randomness");
        let ids = IdSource::from_os().expect("randomness");
        let now = SystemClock::new().now();
        let began = Instant::now();
        let filled = stream::iter(0..keys.div_ceil(KEYS_OF_AN_ACCOUNT))
            .map(|number| {
                let (issuer, ids) = (&issuer, &ids);
                async move {
                    let account = AccountId::from_uuid(ids.next(now));
                    let user = UserId::from_uuid(ids.next(now));
                    store
                        .open_account(account, &format!("account {number}"), &PLAN, now)
                        .await
                        .expect("a new account");
                    let (mut of_account, mut presented) = (Vec::new(), Vec::new());
                    for place in 0..KEYS_OF_AN_ACCOUNT {
                        let issued = issuer.issue(account, user, "machine", KeyEnv::Live, now);
                        let (key, record) = issued.expect("randomness");
                        store.insert(&record).await.expect("a new key");
                        of_account.push(record.id);
                        if (number * KEYS_OF_AN_ACCOUNT + place).is_multiple_of(KEPT) {
                            presented.push(key.to_presented());
                        }
                    }
                    ((account, of_account), presented)
                }
            })
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        println!(
            "| keys put in, {keys} | {:.0}/s |",
            keys as f64 / began.elapsed().as_secs_f64()
        );
        let (accounts, presented): (Vec<_>, Vec<_>) = filled.into_iter().unzip();
        Self {
            accounts,
            presented: presented.into_iter().flatten().collect(),
            peppers,
            now,
        }
    }

    /// Records so many events as a flusher does, batch by batch with settlements, and says how fast that was.
    pub async fn record(&self, store: &SeaOrmStore, events: usize) {
        for days in [DAYS, 0] {
            let month = self.now.minus(Duration::from_secs(days * 86_400));
            let made = operator::make_partitions(store, month).await;
            made.expect("months of the ledger");
        }
        let mut random = Random::new(1);
        let ids = IdSource::from_os().expect("randomness");
        let replica = ReplicaId::from_uuid(ids.next(self.now));
        let (mut spent, mut slowest) = (Duration::ZERO, Duration::ZERO);
        for number in 0..events.div_ceil(BATCH) {
            // A batch is of one moment, and moments follow each other.
            let at = self.moment(number as u64, events.div_ceil(BATCH) as u64);
            let of_batch: Vec<_> = (0..BATCH.min(events - number * BATCH))
                .map(|_| self.event(&ids, replica, at, &mut random))
                .collect();
            let batch = Batch {
                id: BatchId {
                    replica,
                    epoch: 1,
                    number: number as u64 + 1,
                },
                created_at: at,
                settlements: self.settlements(&of_batch),
                events: of_batch,
            };
            let began = Instant::now();
            store.record(&batch).await.expect("a batch is recorded");
            spent += began.elapsed();
            slowest = slowest.max(began.elapsed());
        }
        println!(
            "| events recorded, {events}, in batches of {BATCH} with sums and settlements | {:.0}/s, the slowest batch {:.0} ms |",
            events as f64 / spent.as_secs_f64(),
            slowest.as_secs_f64() * 1e3
        );
    }

    fn moment(&self, number: u64, of: u64) -> Timestamp {
        let whole = DAYS * 86_400;
        self.now.minus(Duration::from_secs(whole - whole * number / of))
    }

    fn event(&self, ids: &IdSource, replica: ReplicaId, at: Timestamp, random: &mut Random) -> Event {
        let (account, keys) = &self.accounts[random.skewed(self.accounts.len())];
        let status = [200, 200, 200, 200, 200, 200, 200, 404, 429, 502][random.below(10) as usize];
        let is_refused = status == 429;
        let id = ids.next(at);
        let widest = 1 << (8 + random.below(12));
        Event {
            id: id.into(),
            at: at.plus(Duration::from_micros(random.below(1_000_000))),
            account: *account,
            user: None,
            key: Some(keys[random.below(keys.len() as u64) as usize]),
            operation: OperationName::from_static("data.query"),
            endpoint: "/api/v1/data".into(),
            method: "GET".into(),
            source: Some(["wiki", "arxiv", "news", "weather"][random.below(4) as usize].into()),
            status,
            grpc_status: None,
            outcome: if is_refused {
                Outcome::Refused
            } else {
                Outcome::Completed
            },
            refusal: is_refused.then(|| "rate_limited".into()),
            would_refuse: None,
            units: if status == 200 {
                vec![(MeterName::REQUESTS, Units::ONE)]
            } else {
                Vec::new()
            },
            over: false,
            response_time_us: 500 + random.below(widest),
            first_byte_us: Some(400),
            bytes_in: 0,
            bytes_out: 1_200,
            request_id: id.to_string(),
            replica,
            tags: Vec::new(),
        }
    }

    /// What the events charge, by account and month.
    fn settlements(&self, events: &[Event]) -> Vec<Settlement> {
        let mut units = std::collections::BTreeMap::<(AccountId, Period), Units>::new();
        for event in events {
            let period = PeriodRule::CalendarMonth.period_at(event.at, self.now);
            let sum = units.entry((event.account, period)).or_default();
            *sum = sum.plus(event.units_of(&MeterName::REQUESTS));
        }
        let settlement = |((account, period), units)| Settlement {
            key: QuotaKey {
                account,
                key: None,
                meter: MeterName::REQUESTS,
                period,
            },
            plan: PLAN,
            limit: None,
            lease: None,
            units,
        };
        units
            .into_iter()
            .filter(|(_, units)| !units.is_zero())
            .map(settlement)
            .collect()
    }
}
