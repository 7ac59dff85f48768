//! From finished requests to the sink: a bounded queue, and the one task that empties it in batches.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::name::PlanId;
use crate::quota::{Holder, Lease, QuotaStore, Settlement};
use crate::time::Clock;
use crate::units::Units;
use crate::usage::{Batch, BatchId, Event, UsageSink};

/// The longest pause between two attempts to record a batch.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// A finished request on its way to the sink.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) event: Event,
    pub(crate) charges: Charges,
}

/// What one request was charged, by counter.
pub(crate) type Charges = SmallVec<[Charged; 1]>;

/// Units charged on a counter.
#[derive(Clone, Debug)]
pub(crate) struct Charged {
    pub(crate) lease: Arc<Lease>,
    pub(crate) plan: PlanId,
    pub(crate) limit: Option<Units>,
    pub(crate) units: Units,
    /// Whether they came out of a lease.
    pub(crate) leased: bool,
}

/// How events are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) batch_len_max: usize,
    pub(crate) store_timeout: Duration,
}

pub(crate) enum Request {
    /// Record everything that was finished before.
    Flush(oneshot::Sender<()>),
    /// The same, then end.
    Stop(oneshot::Sender<()>),
}

/// The task's state.
pub(crate) struct Flusher {
    pub(crate) sink: Arc<dyn UsageSink>,
    /// The quota store, where the sink does not settle there itself.
    pub(crate) settle: Option<Arc<dyn QuotaStore>>,
    pub(crate) holder: Holder,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pace: Pace,
    pub(crate) finished: mpsc::Receiver<Finished>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) next_batch: u64,
    pub(crate) events_lost: Arc<AtomicU64>,
    /// Whether anybody may still ask for something.
    pub(crate) is_asked: bool,
}

impl Flusher {
    /// Works until it is stopped, or until every sender is gone and everything is recorded.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(self.pace.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pending: Vec<Finished> = Vec::new();
        loop {
            let room = self.pace.batch_len_max - pending.len();
            tokio::select! {
                request = self.requests.recv(), if self.is_asked => match request {
                    Some(Request::Flush(done)) => {
                        self.flush_all(&mut pending).await;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    }
                    Some(Request::Stop(done)) => {
                        self.finished.close();
                        self.flush_all(&mut pending).await;
                        let _ = done.send(());
                        return;
                    }
                    // The meter is gone, but requests that it let through may still be on their way.
                    None => self.is_asked = false,
                },
                _ = ticks.tick() => {
                    self.flush(&mut pending).await;
                }
                got = self.finished.recv_many(&mut pending, room) => {
                    if got == 0 {
                        // Nobody is left who could send anything.
                        self.flush_all(&mut pending).await;
                        return;
                    }
                    if pending.len() >= self.pace.batch_len_max {
                        self.flush(&mut pending).await;
                    }
                }
            }
        }
    }

    /// Records what is pending and what is in the queue.
    async fn flush_all(&mut self, pending: &mut Vec<Finished>) {
        loop {
            while pending.len() < self.pace.batch_len_max {
                match self.finished.try_recv() {
                    Ok(finished) => pending.push(finished),
                    Err(_) => break,
                }
            }
            if pending.is_empty() {
                return;
            }
            self.flush(pending).await;
        }
    }

    /// Records what is pending, however often it takes. A batch that the sink will never take is halved until the event
    /// that is wrong stands alone; that one is dropped with an error in the log.
    async fn flush(&mut self, pending: &mut Vec<Finished>) {
        let mut parts = vec![Part::new(std::mem::take(pending))];
        while let Some(part) = parts.pop() {
            if part.events.is_empty() {
                continue;
            }
            note_submitted(&part.charges);
            let batch = Arc::new(self.batch(part.events, &part.charges));
            if self.record(&batch).await {
                continue;
            }
            unnote_submitted(&part.charges);
            // An attempt that was given up may still hold the batch.
            let events =
                Arc::try_unwrap(batch).map_or_else(|batch| batch.events.clone(), |batch| batch.events);
            match events.as_slice() {
                [lost] => {
                    self.events_lost.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(event.id = %lost.id, "an event can't be recorded and is lost");
                }
                _ => parts.extend(
                    Part {
                        events,
                        charges: part.charges,
                    }
                    .halves(),
                ),
            }
        }
    }

    /// Answers whether the batch is in the ledger; if not, the sink will never take it.
    async fn record(&self, batch: &Arc<Batch>) -> bool {
        let sink = Arc::clone(&self.sink);
        let recorded = self.repeat(batch, "a batch can't be recorded", move |batch| {
            let sink = Arc::clone(&sink);
            async move { sink.record(&batch).await.map(drop) }
        });
        if !recorded.await {
            return false;
        }
        if let Some(quota) = &self.settle {
            let (quota, holder) = (Arc::clone(quota), self.holder);
            // The events are in the ledger; whatever becomes of this, they must not be sent again under another name.
            self.repeat(batch, "a batch that is recorded can't be settled", move |batch| {
                let quota = Arc::clone(&quota);
                async move {
                    quota
                        .settle(holder, batch.id, &batch.settlements, batch.created_at)
                        .await
                }
            })
            .await;
        }
        true
    }

    /// Tries until it is done, or until the store says that it never will be: what it says of the content is final, every
    /// other failure may pass. Each attempt runs in a task of its own, so that a store that panics ends that attempt only.
    async fn repeat<F>(
        &self,
        batch: &Arc<Batch>,
        what: &'static str,
        attempt: impl Fn(Arc<Batch>) -> F + Send,
    ) -> bool
    where
        F: Future<Output = StoreResult<()>> + Send + 'static,
    {
        let mut pause = PAUSE_MIN;
        loop {
            let mut task = tokio::spawn(attempt(Arc::clone(batch)));
            let error = match timeout(self.pace.store_timeout, &mut task).await {
                Ok(Ok(Ok(()))) => return true,
                Ok(Ok(Err(error))) => error,
                Ok(Err(panicked)) => {
                    StoreError::new(StoreErrorKind::Unexpected, "run a store").with_source(panicked)
                }
                Err(elapsed) => {
                    task.abort();
                    StoreError::new(StoreErrorKind::Timeout, "wait for a store").with_source(elapsed)
                }
            };
            let is_final = matches!(error.kind(), StoreErrorKind::Conflict | StoreErrorKind::Invalid);
            let (number, events) = (batch.id.number, batch.events.len());
            let error = &error as &(dyn std::error::Error + Send + Sync);
            if is_final {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    batch.number = number,
                    batch.events = events,
                    "{what}"
                );
                return false;
            }
            tracing::warn!(
                error = error as &dyn std::error::Error,
                batch.number = number,
                "{what} for now"
            );
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn batch(&mut self, events: Vec<Event>, charges: &[Charges]) -> Batch {
        let number = self.next_batch;
        self.next_batch += 1;
        Batch {
            id: BatchId {
                replica: self.holder.replica,
                epoch: self.holder.epoch,
                number,
            },
            created_at: self.clock.now(),
            events,
            settlements: settlements(charges),
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("holder", &self.holder)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

/// Finished requests on their way into one batch.
struct Part {
    events: Vec<Event>,
    /// What each of them was charged.
    charges: Vec<Charges>,
}

impl Part {
    fn new(finished: Vec<Finished>) -> Self {
        let (events, charges) = finished.into_iter().map(|one| (one.event, one.charges)).unzip();
        Self { events, charges }
    }

    fn halves(mut self) -> [Self; 2] {
        let middle = self.events.len() / 2;
        let second = Self {
            events: self.events.split_off(middle),
            charges: self.charges.split_off(middle),
        };
        [second, self]
    }
}

fn note_submitted(charges: &[Charges]) {
    for charged in charges.iter().flatten() {
        charged.lease.window().note_submitted(charged.units);
    }
}

fn unnote_submitted(charges: &[Charges]) {
    for charged in charges.iter().flatten() {
        charged.lease.window().unnote_submitted(charged.units);
    }
}

/// The charges of several requests, summed up by counter, lease, plan and limit; in the order of the counters.
fn settlements(charges: &[Charges]) -> Vec<Settlement> {
    // Most requests of a batch share few leases, which are told apart by their address before anything is compared.
    let mut sums = HashMap::new();
    for charged in charges.iter().flatten() {
        let key = (
            Arc::as_ptr(&charged.lease),
            charged.leased,
            &charged.plan,
            charged.limit,
        );
        let (_, sum) = sums.entry(key).or_insert((charged, Units::ZERO));
        *sum = sum.plus(charged.units);
    }
    let settlement = |(charged, units): (&Charged, Units)| Settlement {
        key: charged.lease.window().key().clone(),
        plan: charged.plan.clone(),
        limit: charged.limit,
        lease: charged.leased.then(|| charged.lease.token()).flatten(),
        units,
    };
    let mut settlements: Vec<_> = sums.into_values().map(settlement).collect();
    settlements.sort_by(|a, b| (&a.key, a.lease, &a.plan, a.limit).cmp(&(&b.key, b.lease, &b.plan, b.limit)));
    settlements
}
