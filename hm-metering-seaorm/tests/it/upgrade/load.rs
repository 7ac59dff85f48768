//! What servers do all the time, by several tasks at once. Each answer is demanded: an error ends the test.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hm_metering::id::IdSource;
use hm_metering::keys::KeyUse;
use hm_metering::page::PageRequest;
use hm_metering::quota::{Holder, Release};
use hm_metering::usage::{Event, Facet, Grain, Recorded, UsageQuery};
use hm_metering::{AccountId, EventId, KeyId, KeyStore, QuotaStore, Units, UsageSink, UsageStore};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, Statement};
use hm_metering_seaorm::{SeaOrmStore, operator};
use tokio::task::JoinHandle;

use crate::fixtures::{
    NOW, account, ask, batch, counter, event, holder, later, new_key, patient, settlement,
};

/// How many tasks record, each as a replica of its own.
const REPLICAS: usize = 3;
/// How many events a batch has.
const EVENTS: u32 = 3;
/// How many rounds each task must do for the load to go on, and how long that may take.
const ROUNDS: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// Tasks that go on until they are told to end.
pub struct Load {
    stores: Vec<SeaOrmStore>,
    accounts: Vec<AccountId>,
    tasks: Vec<Task>,
    ending: Arc<AtomicBool>,
    /// Events that were recorded.
    events: Arc<AtomicU64>,
}

struct Task {
    running: JoinHandle<()>,
    rounds: Arc<AtomicU64>,
}

impl Load {
    /// Two servers with pools of their own.
    pub async fn begin(url: &str) -> Self {
        let mut stores = Vec::new();
        for _ in 0..2 {
            // A step may hold a table for longer than leases usually wait.
            stores.push(SeaOrmStore::connect_with(url, &patient()).await.unwrap());
        }
        let mut accounts = Vec::new();
        for _ in 0..2 {
            accounts.push(account(&stores[0]).await);
        }
        let mut load = Self {
            stores,
            accounts,
            tasks: Vec::new(),
            ending: Arc::default(),
            events: Arc::default(),
        };
        for replica in 0..REPLICAS {
            let recorder = Recorder {
                store: load.stores[replica % 2].clone(),
                account: load.accounts[replica % 2],
                holder: holder(),
                ids: IdSource::from_os().unwrap(),
                events: Arc::clone(&load.events),
            };
            load.spawn(Arc::new(recorder), |recorder, round| async move {
                recorder.round(round).await;
            });
        }
        for place in 0..2 {
            let parts = Arc::new((load.stores[place].clone(), load.accounts[place]));
            load.spawn(Arc::clone(&parts), |parts, round| async move {
                use_keys(&parts.0, parts.1, round).await;
            });
            load.spawn(
                parts,
                |parts, _| async move { ask_usage(&parts.0, parts.1).await },
            );
        }
        load
    }

    fn spawn<P, F>(&mut self, part: Arc<P>, round: impl Fn(Arc<P>, u64) -> F + Send + 'static)
    where
        P: Send + Sync + 'static,
        F: Future<Output = ()> + Send,
    {
        let (rounds, ending) = (Arc::new(AtomicU64::new(0)), Arc::clone(&self.ending));
        let done = Arc::clone(&rounds);
        let running = tokio::spawn(async move {
            while !ending.load(Ordering::Relaxed) {
                let number = done.load(Ordering::Relaxed) + 1;
                round(Arc::clone(&part), number).await;
                done.store(number, Ordering::Relaxed);
            }
        });
        self.tasks.push(Task { running, rounds });
    }

    /// Waits until each of the tasks has done some more rounds, or has failed.
    pub async fn goes_on(&self) {
        let before: Vec<u64> = self.tasks.iter().map(Task::rounds).collect();
        let all = async {
            for (task, before) in self.tasks.iter().zip(before) {
                while task.rounds() < before + ROUNDS {
                    assert!(!task.running.is_finished(), "a call failed");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap();
    }

    /// Ends all tasks, and demands that everything they recorded is there, once.
    pub async fn end(self) {
        self.ending.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.running.await.unwrap();
        }
        let store = &self.stores[0];
        let expected = self.events.load(Ordering::Relaxed);
        let db = store.connection();
        let count = Statement::from_string(
            db.get_database_backend(),
            "SELECT COUNT(*) AS number FROM usage_events",
        );
        let row = db.query_one_raw(count).await.unwrap().unwrap();
        assert_eq!(row.try_get::<i64>("", "number").unwrap().unsigned_abs(), expected);
        let mut summed = 0;
        for account in &self.accounts {
            let totals = store.totals(&query(*account)).await.unwrap();
            summed += totals.requests;
            let balance = store.balances(&[counter(*account)]).await.unwrap()[0];
            assert_eq!(balance.used.get(), totals.requests);
        }
        assert_eq!(summed, expected);
        let mut found = Vec::new();
        operator::check(store, |difference| found.push(difference.to_string()))
            .await
            .unwrap();
        assert_eq!(found, Vec::<String>::new());
    }
}

impl Task {
    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

struct Recorder {
    store: SeaOrmStore,
    account: AccountId,
    holder: Holder,
    ids: IdSource,
    events: Arc<AtomicU64>,
}

impl Recorder {
    /// Leases, records what was spent, and gives the rest back. Now and then a batch is sent again.
    async fn round(&self, round: u64) {
        let counter = counter(self.account);
        let lease = ask(self.holder, 2 * round - 1, &counter, u32::MAX, EVENTS + 1);
        let grant = self.store.lease(&lease).await.unwrap();
        assert_eq!(grant.granted, Units::from(EVENTS + 1));
        let events = (0..EVENTS).map(|_| self.event(round)).collect();
        let settlements = vec![settlement(&counter, Some(grant.token), EVENTS)];
        let batch = batch(self.holder, round, events, settlements);
        assert_eq!(self.store.record(&batch).await.unwrap(), Recorded::New);
        self.events.fetch_add(u64::from(EVENTS), Ordering::Relaxed);
        if round.is_multiple_of(3) {
            assert_eq!(self.store.record(&batch).await.unwrap(), Recorded::Repeated);
        }
        let release = Release {
            holder: self.holder,
            operation: 2 * round,
            key: counter,
            token: grant.token,
            units: Units::ONE,
            now: NOW,
        };
        self.store.release(&release).await.unwrap();
    }

    fn event(&self, round: u64) -> Event {
        let at = later((round % 3_600).cast_signed());
        Event {
            id: EventId::from_uuid(self.ids.next(at)),
            at,
            ..event(self.account, None)
        }
    }
}

async fn use_keys(store: &SeaOrmStore, account: AccountId, round: u64) {
    let new = new_key(account);
    store.insert(&new).await.unwrap();
    let found = store.find_by_digest(&[new.digest]).await.unwrap();
    let key: KeyId = found.unwrap().record.id;
    assert_eq!(key, new.id);
    let used = KeyUse {
        key,
        count: 1,
        last_used_at: NOW,
    };
    store.mark_used(&[used]).await.unwrap();
    if round.is_multiple_of(2) {
        store.revoke(account, key, NOW).await.unwrap().unwrap();
    }
    let listed = store.list(account, &PageRequest::first(10)).await.unwrap();
    assert!(!listed.items.is_empty());
    store.changes_since(None, 10).await.unwrap();
}

fn query(account: AccountId) -> UsageQuery {
    UsageQuery::new(account, later(-86_400), later(86_400))
}

async fn ask_usage(store: &SeaOrmStore, account: AccountId) {
    let query = query(account);
    let totals = store.totals(&query).await.unwrap();
    let series = store.series(&query, Grain::Hour).await.unwrap();
    // What was recorded in between is in the second answer only.
    assert!(series.iter().map(|point| point.totals.requests).sum::<u64>() >= totals.requests);
    let listed = store.recent(&query, &PageRequest::first(20)).await.unwrap();
    assert!(listed.items.len() as u64 >= totals.requests.min(20));
    store.response_times(&query, &[0.5, 0.99]).await.unwrap();
    store.top(&query, Facet::Operation, 5).await.unwrap();
    store.balances(&[counter(account)]).await.unwrap();
}
