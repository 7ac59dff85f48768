//! From the log to a sink: one task for each sink, which reads what is finished and records it in batches.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::Instrument;

use super::start::LEDGER;
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::id::ReplicaId;
use crate::measures::{Measures, SinkMeasures};
use crate::name::PlanId;
use crate::quota::{FencingToken, Holder, LeaseBook, QuotaKey, QuotaStore, Settlement};
use crate::time::Clock;
use crate::units::Units;
use crate::usage::journal::record::{self, Record};
use crate::usage::journal::{Next, Position, Sent, Trail};
use crate::usage::{Batch, BatchId, Event, UsageSink};

/// The longest pause between two attempts to record a batch.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// How events are put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) interval: Duration,
    pub(crate) batch_len_max: usize,
    pub(crate) store_timeout: Duration,
    /// Whether progress is forced to the disk before each batch.
    pub(crate) syncs: bool,
}

pub(crate) enum Request {
    /// Record everything that was finished before.
    Flush(oneshot::Sender<()>),
    /// The same, then end.
    Stop(oneshot::Sender<()>),
}

/// The quotas that the events of a sink are settled on.
pub(crate) struct Settling {
    /// The quota store, where the sink does not settle there itself.
    pub(crate) settle: Option<Arc<dyn QuotaStore>>,
    pub(crate) book: Arc<LeaseBook>,
    /// The quota store in any case, as long as leases of earlier runs may be open there.
    pub(crate) earlier: Option<Arc<dyn QuotaStore>>,
}

/// The task's state.
pub(crate) struct Flusher {
    /// What the sink is called in the log.
    pub(crate) name: String,
    pub(crate) sink: Arc<dyn UsageSink>,
    /// None for sinks that only hear of events.
    pub(crate) settling: Option<Settling>,
    pub(crate) replica: ReplicaId,
    pub(crate) trail: Trail,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pace: Pace,
    pub(crate) requests: mpsc::Receiver<Request>,
    /// How many records of this run were read.
    pub(crate) read: u64,
    /// How many damaged parts of the journal were counted as lost.
    pub(crate) damaged: u64,
    /// How many events the sink missed because it was too slow, as far as it was said.
    pub(crate) missed: u64,
    pub(crate) payload: Vec<u8>,
    pub(crate) measures: Measures,
    pub(crate) counts: SinkMeasures,
    /// How many lost events were counted.
    pub(crate) lost_told: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Recorded,
    /// The sink says that it will never take it; whether it is because it has another batch of that name.
    Refused {
        is_conflict: bool,
    },
    /// Not now, and nobody waits any longer: a later run will send it.
    Left,
}

impl Sending {
    /// The word for it in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Refused { .. } => "refused",
            Self::Left => "left",
        }
    }
}

impl Flusher {
    /// Works until it is stopped, or until the meter is gone and everything is recorded.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(self.pace.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batches = self.trail.log.batches();
        // The log's own handle keeps the sender alive, so a change is the only thing that can come.
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Flush(done)) => {
                        self.flush_all().await;
                        self.tell();
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    }
                    Some(Request::Stop(done)) => {
                        self.flush_all().await;
                        self.trail.log.set_over();
                        self.tell();
                        let _ = done.send(());
                        return;
                    }
                    None => {
                        // The meter is gone, and with it every request that it let through.
                        self.flush_all().await;
                        self.trail.log.set_over();
                        return;
                    }
                },
                _ = ticks.tick() => {
                    self.flush().await;
                    self.tell();
                }
                _ = batches.changed() => self.flush_full().await,
            }
        }
    }

    /// Says how the log stands, if it is the ledger that asks.
    fn tell(&mut self) {
        if self.name != LEDGER {
            return;
        }
        let log = &self.trail.log;
        self.measures.journal(log.room_left(), log.segments());
        let lost = log.lost();
        self.measures.lost(lost - self.lost_told);
        self.lost_told = lost;
    }

    /// Records full batches as long as there are any.
    async fn flush_full(&mut self) {
        let full = self.pace.batch_len_max as u64;
        while self.trail.log.appended().saturating_sub(self.read) >= full {
            if !self.flush_one().await {
                return;
            }
        }
    }

    /// Records what is there.
    async fn flush(&mut self) {
        while self.flush_one().await {}
    }

    /// Records what is there, with what is just being written.
    async fn flush_all(&mut self) {
        loop {
            self.flush().await;
            let mut peek = Vec::new();
            let at = self.trail.reader.position();
            let next = self.trail.reader.next(None, &mut peek);
            self.trail.reader.go_back(at);
            match next {
                Next::Pending => yield_now().await,
                Next::Record { .. } | Next::OtherRun if !self.is_left() => {}
                _ => return,
            }
        }
    }

    /// Whether what can't be recorded now is left to a later run.
    fn is_left(&self) -> bool {
        self.trail.log.is_kept() && self.requests.is_closed()
    }

    /// Records at most one batch. Answers whether there may be more.
    async fn flush_one(&mut self) -> bool {
        match self.collect() {
            Some(part) => {
                let is_this_run = part.epoch == self.trail.log.epoch();
                if is_this_run {
                    self.close_earlier().await;
                }
                self.send(part).await
            }
            None => {
                self.close_earlier().await;
                false
            }
        }
    }

    /// Reads the next batch. One that an earlier run sent is put together as it was.
    fn collect(&mut self) -> Option<Part> {
        let sent = self.trail.progress().sent;
        let start = self.trail.reader.position();
        let mut entries = Vec::new();
        let (mut epoch, mut records, mut unread) = (None, 0, 0);
        while entries.len() < self.pace.batch_len_max || sent.is_some() {
            if sent.is_some_and(|sent| self.trail.reader.position() >= sent.end) {
                break;
            }
            match self.trail.reader.next(epoch, &mut self.payload) {
                Next::Record { epoch: of } => {
                    epoch = Some(of);
                    let is_own = of == self.trail.log.epoch();
                    records += u64::from(is_own);
                    self.read += u64::from(is_own);
                    match record::decode(&self.payload, self.replica) {
                        Some(record) => {
                            entries.push(Entry {
                                record,
                                end: self.trail.reader.position(),
                                records,
                            });
                            records = 0;
                        }
                        None => unread += 1,
                    }
                }
                // A run of which nothing can be read any more.
                Next::OtherRun if entries.is_empty() => epoch = None,
                Next::OtherRun | Next::Nothing | Next::Pending => break,
            }
        }
        self.note_losses(unread);
        if entries.is_empty() {
            let end = self.trail.reader.position();
            if end != start || sent.is_some() {
                self.trail.note_done(end, records);
            }
            // Nothing is left of what was sent. What follows may be of an earlier run as well.
            return sent.and_then(|_| self.collect());
        }
        let resent = sent.filter(|sent| Some(self.trail.progress().epoch) == epoch && sent.events > 0);
        Some(Part {
            entries,
            epoch: epoch.unwrap_or_default(),
            resent,
        })
    }

    /// Records a part, however often it takes. A batch that the sink will never take is halved until the event that is
    /// wrong stands alone; that one is given up with an error in the log. False when the rest is left to a later run.
    async fn send(&mut self, part: Part) -> bool {
        let mut parts = vec![part];
        while let Some(part) = parts.pop() {
            let Some(last) = part.entries.last() else {
                continue;
            };
            let (end, epoch, resent) = (last.end, part.epoch, part.resent);
            let records = part.entries.iter().map(|entry| entry.records).sum();
            let number = self.number_for(epoch, resent);
            let events = part.entries.len() as u64;
            self.trail.note_sent(epoch, Sent { number, end, events });
            if self.pace.syncs {
                self.trail.sync().await;
            }
            let is_this_run = epoch == self.trail.log.epoch();
            let (batch, ends) = self.batch(part, number);
            if is_this_run {
                self.note(&batch.settlements, LeaseBook::note_submitted);
            }
            let began = self.clock.monotonic();
            let span = tracing::debug_span!(
                "flush",
                sink = self.name,
                batch.number = number,
                batch.events = events
            );
            let sending = self.record(&batch).instrument(span).await;
            let took = self.clock.monotonic().saturating_sub(began);
            self.counts.sent(sending.as_str(), batch.events.len(), took);
            match sending {
                Sending::Recorded => {
                    if is_this_run {
                        self.note(&batch.settlements, LeaseBook::note_recorded);
                    }
                    self.trail.note_done(end, records);
                }
                Sending::Refused { is_conflict: true }
                    if resent.is_some_and(|sent| sent.events != events) =>
                {
                    // Parts of it are damaged here, so it is not what was sent. The sink has what was.
                    tracing::error!(
                        batch.number = number,
                        "a batch of an earlier run is damaged here and recorded already"
                    );
                    self.trail.note_done(end, records);
                }
                Sending::Refused { .. } => {
                    if is_this_run {
                        self.note(&batch.settlements, LeaseBook::unnote_submitted);
                    }
                    // An attempt that was given up may still hold the batch.
                    let batch = Arc::try_unwrap(batch).unwrap_or_else(|batch| (*batch).clone());
                    match batch.events.as_slice() {
                        [lost] => {
                            tracing::error!(event.id = %lost.id, "an event can't be recorded");
                            self.lose(1, "an event that a sink will never take");
                            if is_this_run {
                                self.note(&batch.settlements, LeaseBook::note_recorded);
                            }
                            self.trail.note_done(end, records);
                        }
                        _ => parts.extend(Part::again(batch.events, ends, epoch).halves()),
                    }
                }
                Sending::Left => return false,
            }
        }
        true
    }

    fn number_for(&self, epoch: u64, resent: Option<Sent>) -> u64 {
        let progress = self.trail.progress();
        match resent {
            Some(sent) => sent.number,
            None if progress.epoch == epoch => progress.next_batch.max(1),
            None => 1,
        }
    }

    fn batch(&self, part: Part, number: u64) -> (Arc<Batch>, Vec<End>) {
        let settlements = match &self.settling {
            Some(_) => settlements(part.entries.iter().flat_map(|entry| &entry.record.settlements)),
            None => Vec::new(),
        };
        let (events, ends) = part
            .entries
            .into_iter()
            .map(|entry| {
                let Record { event, settlements } = entry.record;
                (event, (settlements, entry.end, entry.records))
            })
            .unzip();
        let batch = Batch {
            id: BatchId {
                replica: self.replica,
                epoch: part.epoch,
                number,
            },
            created_at: self.clock.now(),
            events,
            settlements,
        };
        (Arc::new(batch), ends)
    }

    fn note(&self, settlements: &[Settlement], note: impl Fn(&LeaseBook, &Settlement)) {
        if let Some(settling) = &self.settling {
            for settlement in settlements {
                note(&settling.book, settlement);
            }
        }
    }

    /// Counts what could not be read, and says what this sink missed.
    fn note_losses(&mut self, unread: u64) {
        if unread > 0 {
            self.lose(unread, "records of the journal can't be understood");
        }
        let damaged = self.trail.reader.damaged();
        if damaged > self.damaged && self.settling.is_some() {
            self.lose(damaged - self.damaged, "parts of the journal are damaged");
        }
        self.damaged = damaged;
        let missed = self.trail.lost();
        if missed > self.missed {
            let events = missed - self.missed;
            tracing::error!(
                sink = self.name,
                events,
                "a sink was too slow for the journal and misses events"
            );
            self.counts.missed(events);
            self.missed = missed;
        }
    }

    fn lose(&self, events: u64, why: &'static str) {
        tracing::error!(sink = self.name, events, "{why}");
        self.trail.log.note_lost(events);
    }

    /// Gives back what earlier runs of this replica had leased and not used, once everything that they left is recorded.
    async fn close_earlier(&mut self) {
        let Some(settling) = &mut self.settling else {
            return;
        };
        let Some(quota) = settling.earlier.take() else {
            return;
        };
        let holder = Holder {
            replica: self.replica,
            epoch: self.trail.log.epoch(),
        };
        let (store, now) = (Arc::clone(&quota), self.clock.now());
        match timeout(self.pace.store_timeout, store.close_earlier(holder, now)).await {
            Ok(Ok(units)) => {
                if !units.is_zero() {
                    tracing::info!(
                        units = units.get(),
                        "units that an earlier run had leased were given back"
                    );
                }
            }
            failed => {
                let error = failed
                    .err()
                    .map_or_else(|| "the store refused".to_owned(), |elapsed| elapsed.to_string());
                self.measures.store_failed("close_earlier");
                tracing::warn!(error, "leases of an earlier run can't be closed for now");
                settling.earlier = Some(quota);
            }
        }
    }

    async fn record(&self, batch: &Arc<Batch>) -> Sending {
        let sink = Arc::clone(&self.sink);
        let recorded = self.repeat(batch, ("record", "a batch can't be recorded"), move |batch| {
            let sink = Arc::clone(&sink);
            async move { sink.record(&batch).await.map(drop) }
        });
        let recorded = recorded.await;
        let settle = self
            .settling
            .as_ref()
            .and_then(|settling| settling.settle.clone());
        let Some(quota) = settle.filter(|_| recorded == Sending::Recorded) else {
            return recorded;
        };
        let holder = batch.id.holder();
        // The events are in the ledger; whatever becomes of this, they must not be sent again under another name.
        let settled = self.repeat(
            batch,
            ("settle", "a batch that is recorded can't be settled"),
            move |batch| {
                let quota = Arc::clone(&quota);
                async move {
                    quota
                        .settle(holder, batch.id, &batch.settlements, batch.created_at)
                        .await
                }
            },
        );
        match settled.await {
            Sending::Left => Sending::Left,
            Sending::Recorded | Sending::Refused { .. } => Sending::Recorded,
        }
    }

    /// Tries until it is done, or until the store says that it never will be: what it says of the content is final, every
    /// other failure may pass. Each attempt runs in a task of its own, so that a store that panics ends that attempt only.
    async fn repeat<F>(
        &self,
        batch: &Arc<Batch>,
        (call, what): (&'static str, &'static str),
        attempt: impl Fn(Arc<Batch>) -> F + Send,
    ) -> Sending
    where
        F: Future<Output = StoreResult<()>> + Send + 'static,
    {
        let mut pause = PAUSE_MIN;
        loop {
            let mut task = tokio::spawn(attempt(Arc::clone(batch)));
            let error = match timeout(self.pace.store_timeout, &mut task).await {
                Ok(Ok(Ok(()))) => return Sending::Recorded,
                Ok(Ok(Err(error))) => error,
                Ok(Err(panicked)) => {
                    StoreError::new(StoreErrorKind::Unexpected, "run a store").with_source(panicked)
                }
                Err(elapsed) => {
                    task.abort();
                    StoreError::new(StoreErrorKind::Timeout, "wait for a store").with_source(elapsed)
                }
            };
            self.measures.store_failed(call);
            let kind = error.kind();
            let (number, events) = (batch.id.number, batch.events.len());
            let error = &error as &(dyn std::error::Error + Send + Sync);
            if matches!(kind, StoreErrorKind::Conflict | StoreErrorKind::Invalid) {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    sink = self.name,
                    batch.number = number,
                    batch.events = events,
                    "{what}"
                );
                return Sending::Refused {
                    is_conflict: kind == StoreErrorKind::Conflict,
                };
            }
            tracing::warn!(
                error = error as &dyn std::error::Error,
                sink = self.name,
                batch.number = number,
                "{what} for now"
            );
            if self.is_left() {
                return Sending::Left;
            }
            self.counts.retried();
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("name", &self.name)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

/// Records on their way into one batch.
struct Part {
    entries: Vec<Entry>,
    epoch: u64,
    /// The batch that an earlier run sent, if it is that one.
    resent: Option<Sent>,
}

struct Entry {
    record: Record,
    end: Position,
    /// How many records of this run lie between the entry before and here.
    records: u64,
}

/// What is left of an entry while its event is in a batch.
type End = (Charges, Position, u64);
type Charges = smallvec::SmallVec<[Settlement; 1]>;

impl Part {
    fn again(events: Vec<Event>, ends: Vec<End>, epoch: u64) -> Self {
        let entry = |(event, (settlements, end, records))| Entry {
            record: Record { event, settlements },
            end,
            records,
        };
        Self {
            entries: events.into_iter().zip(ends).map(entry).collect(),
            epoch,
            resent: None,
        }
    }

    /// In the order in which a stack gives them back.
    fn halves(mut self) -> [Self; 2] {
        let second = Self {
            entries: self.entries.split_off(self.entries.len() / 2),
            epoch: self.epoch,
            resent: None,
        };
        [second, self]
    }
}

/// The charges of several requests, summed up by counter, lease, plan and limit; in the order of the counters.
fn settlements<'a>(charges: impl Iterator<Item = &'a Settlement>) -> Vec<Settlement> {
    type Key<'a> = (&'a QuotaKey, Option<FencingToken>, &'a PlanId, Option<Units>);
    let mut sums: HashMap<Key<'_>, Units> = HashMap::new();
    for charge in charges {
        let key = (&charge.key, charge.lease, &charge.plan, charge.limit);
        let sum = sums.entry(key).or_default();
        *sum = sum.plus(charge.units);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort();
    let settlement = |((key, lease, plan, limit), units): (Key<'_>, Units)| Settlement {
        key: key.clone(),
        plan: plan.clone(),
        limit,
        lease,
        units,
    };
    sums.into_iter().map(settlement).collect()
}
