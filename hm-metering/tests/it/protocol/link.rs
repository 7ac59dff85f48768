//! How one run of a replica reaches the store: messages get lost, come late, come twice and overtake each other.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use hm_metering::quota::{
    Balance, FencingToken, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaStore, QuotaWindow, Release,
    Settlement, StoreIdentity, WindowState,
};
use hm_metering::usage::{Batch, BatchId, Recorded, UsageSink};
use hm_metering::{MemoryStore, StoreError, StoreErrorKind, StoreResult, Timestamp, Units};
use tokio::sync::oneshot;

use super::random::Random;

/// How many messages of a thousand meet with an accident.
pub const WEATHERS: [u64; 4] = [0, 20, 100, 400];
/// The longest delay: more than any time-out of the engine's.
const LATE_MILLIS: u64 = 15_000;

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    NeverArrives,
    AnswerLost,
    AnswerLate(Duration),
    Late(Duration),
    /// It arrives, and again later.
    Twice(Duration),
}

/// What is wrong with a store that does not keep its promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A lease that is asked for again is debited again.
    DebitsRepeats,
    /// It grants a unit that it did not debit.
    GrantsMore,
    /// It grants beyond the limit.
    ExceedsLimit,
    /// It forgets some of what is given back.
    ForgetsReleases,
    /// It says that a batch is recorded, and sometimes it is not.
    ForgetsBatches,
}

impl Fault {
    pub const ALL: [Self; 5] = [
        Self::DebitsRepeats,
        Self::GrantsMore,
        Self::ExceedsLimit,
        Self::ForgetsReleases,
        Self::ForgetsBatches,
    ];
}

/// A run's way to the store. Clones are one link.
#[derive(Clone)]
pub struct Link {
    store: MemoryStore,
    shared: Arc<Shared>,
    fault: Option<Fault>,
}

struct Shared {
    /// The process runs: it can send.
    runs: AtomicBool,
    /// Nothing of it is under way any more.
    over: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// How many messages of a thousand meet with an accident.
    weather: u64,
    /// A stream of accidents for each meter and kind of message, so that what one meets does not depend on the order in
    /// which the engine's tasks look after others.
    accidents: HashMap<String, Random>,
    seed: u64,
    holder: Option<Holder>,
    /// How many leases were asked for.
    asked: u64,
    tokens: HashMap<QuotaKey, FencingToken>,
    /// What the process would have in its journal: every batch that it ever sent.
    batches: Vec<Batch>,
}

impl Link {
    pub fn new(store: MemoryStore, seed: u64, fault: Option<Fault>) -> Self {
        let state = State {
            weather: 0,
            accidents: HashMap::new(),
            seed,
            holder: None,
            asked: 0,
            tokens: HashMap::new(),
            batches: Vec::new(),
        };
        let shared = Shared {
            runs: AtomicBool::new(true),
            over: AtomicBool::new(false),
            state: Mutex::new(state),
        };
        Self {
            store,
            shared: Arc::new(shared),
            fault,
        }
    }

    pub fn set_weather(&self, accidents_of_a_thousand: u64) {
        self.state().weather = accidents_of_a_thousand;
    }

    /// The process ends here. What it sent may still arrive.
    pub fn kill(&self) {
        self.shared.runs.store(false, Ordering::Relaxed);
    }

    /// Whatever is still under way never arrives.
    pub fn cut(&self) {
        self.kill();
        self.shared.over.store(true, Ordering::Relaxed);
    }

    pub fn holder(&self) -> Option<Holder> {
        self.state().holder
    }

    pub fn token(&self, key: &QuotaKey) -> Option<FencingToken> {
        self.state().tokens.get(key).copied()
    }

    pub fn batches(&self) -> Vec<Batch> {
        self.state().batches.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    fn fate(&self, stream: &str) -> Fate {
        let mut state = self.state();
        let (weather, seed) = (state.weather, state.seed);
        let name = stream
            .bytes()
            .fold(0_u64, |name, byte| name.wrapping_mul(257) + u64::from(byte));
        let random = state
            .accidents
            .entry(stream.to_owned())
            .or_insert_with(|| Random::new(seed, name));
        if !random.chance(weather) {
            return Fate::Works;
        }
        let late = random.millis(LATE_MILLIS);
        random.pick(&[
            Fate::NeverArrives,
            Fate::AnswerLost,
            Fate::AnswerLate(late),
            Fate::Late(late),
            Fate::Twice(late),
        ])
    }

    async fn send<T, F, Fut>(&self, stream: &str, message: F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Fn(MemoryStore) -> Fut + Send + 'static,
        Fut: Future<Output = StoreResult<T>> + Send,
    {
        let failed = |kind| Err(StoreError::new(kind, "reach the store"));
        if !self.shared.runs.load(Ordering::Relaxed) {
            // Final, so that what is left of a dead process gives up.
            return failed(StoreErrorKind::Invalid);
        }
        match self.fate(stream) {
            Fate::Works => message(self.store.clone()).await,
            Fate::NeverArrives => failed(StoreErrorKind::Unavailable),
            Fate::AnswerLost => {
                let _ = message(self.store.clone()).await;
                failed(StoreErrorKind::Timeout)
            }
            Fate::AnswerLate(late) => {
                let answer = message(self.store.clone()).await;
                tokio::time::sleep(late).await;
                answer
            }
            Fate::Late(late) => {
                let (sender, answer) = oneshot::channel();
                self.send_late(late, message, |answer| {
                    // The one who asked may have given up.
                    let _ = sender.send(answer);
                });
                answer
                    .await
                    .unwrap_or_else(|_| failed(StoreErrorKind::Unavailable))
            }
            Fate::Twice(late) => {
                let answer = message(self.store.clone()).await;
                self.send_late(late, message, drop);
                answer
            }
        }
    }

    /// Sends a message that arrives also when the one who sent it does not wait for it.
    fn send_late<T, F, Fut>(
        &self,
        late: Duration,
        message: F,
        answered: impl FnOnce(StoreResult<T>) + Send + 'static,
    ) where
        T: Send + 'static,
        F: Fn(MemoryStore) -> Fut + Send + 'static,
        Fut: Future<Output = StoreResult<T>> + Send,
    {
        let link = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(late).await;
            if !link.shared.over.load(Ordering::Relaxed) {
                answered(message(link.store.clone()).await);
            }
        });
    }
}

#[async_trait]
impl QuotaStore for Link {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        let (mut ask, link, fault) = (ask.clone(), self.clone(), self.fault);
        self.state().holder = Some(ask.holder);
        if fault == Some(Fault::DebitsRepeats) {
            let mut state = self.state();
            state.asked += 1;
            ask.operation = ask.operation * 1_000_000 + state.asked;
        }
        if fault == Some(Fault::ExceedsLimit) {
            ask.limit = ask.limit.plus(Units::ONE);
        }
        self.send(ask.key.meter.clone().as_str(), move |store| {
            let (ask, link) = (ask.clone(), link.clone());
            async move {
                let mut grant = store.lease(&ask).await?;
                if fault == Some(Fault::GrantsMore) {
                    grant.granted = grant.granted.plus(Units::ONE);
                }
                link.state().tokens.insert(ask.key, grant.token);
                Ok(grant)
            }
        })
        .await
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        let (mut release, fault) = (release.clone(), self.fault);
        if fault == Some(Fault::DebitsRepeats) {
            release.operation *= 1_000_000;
        }
        self.send(release.key.meter.clone().as_str(), move |store| {
            let release = release.clone();
            let is_forgotten = fault == Some(Fault::ForgetsReleases) && release.operation % 3 == 0;
            async move {
                if is_forgotten {
                    return Ok(Balance::default());
                }
                store.release(&release).await
            }
        })
        .await
    }

    async fn settle(&self, _: Holder, _: BatchId, _: &[Settlement], _: Timestamp) -> StoreResult<()> {
        panic!("the sink settles");
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        let keys = keys.to_vec();
        self.send("balances", move |store| {
            let keys = keys.clone();
            async move { store.balances(&keys).await }
        })
        .await
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        let windows = windows.to_vec();
        self.send("windows", move |store| {
            let windows = windows.clone();
            async move { store.windows(&windows).await }
        })
        .await
    }

    async fn close_earlier(&self, _: Holder, _: Timestamp) -> StoreResult<Units> {
        panic!("the world takes over what dead runs left");
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        self.store.settled_by()
    }
}

#[async_trait]
impl UsageSink for Link {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let (batch, fault) = (batch.clone(), self.fault);
        if self.shared.runs.load(Ordering::Relaxed) {
            let mut state = self.state();
            match state.batches.iter().rev().find(|known| known.id == batch.id) {
                Some(known) => assert_eq!(*known, batch, "a batch that is repeated is the same"),
                None => state.batches.push(batch.clone()),
            }
        }
        self.send("record", move |store| {
            let batch = batch.clone();
            let is_forgotten = fault == Some(Fault::ForgetsBatches) && batch.id.number % 3 == 0;
            async move {
                if is_forgotten {
                    return Ok(Recorded::New);
                }
                store.record(&batch).await
            }
        })
        .await
    }

    fn identity(&self) -> Option<StoreIdentity> {
        self.store.identity()
    }
}
