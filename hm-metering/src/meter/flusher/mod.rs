//! From the log to a sink: one task for each sink, which reads what is finished and records it in batches.

mod attempt;
mod part;
mod send;
mod sums;
mod uses;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::start::LEDGER;
use crate::id::ReplicaId;
use crate::measures::{Measures, SinkMeasures};
use crate::quota::{Holder, LeaseBook, QuotaStore, Settlement};
use crate::time::Clock;
use crate::usage::UsageSink;
use crate::usage::journal::record::Decoder;
use crate::usage::journal::{Next, Trail};
use part::Part;
pub(crate) use uses::Uses;

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
    /// Where uses of keys go that the sink does not count.
    pub(crate) uses: Option<Uses>,
    pub(crate) replica: ReplicaId,
    pub(crate) decoder: Decoder,
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
                        self.tell().await;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    }
                    Some(Request::Stop(done)) => {
                        self.flush_all().await;
                        self.trail.log.set_over();
                        self.tell().await;
                        let _ = done.send(());
                        self.finish_uses().await;
                        return;
                    }
                    None => {
                        // The meter is gone, and with it every request that it let through.
                        self.flush_all().await;
                        self.trail.log.set_over();
                        self.finish_uses().await;
                        return;
                    }
                },
                _ = ticks.tick() => {
                    self.flush().await;
                    self.tell().await;
                }
                _ = batches.changed() => self.flush_full().await,
            }
        }
    }

    /// Says how the log stands and how often keys were used, if it is the ledger that asks.
    async fn tell(&mut self) {
        if let Some(uses) = &mut self.uses {
            uses.tell().await;
        }
        if self.name != LEDGER {
            return;
        }
        let log = &self.trail.log;
        self.measures.journal(log.room_left(), log.segments());
        let lost = log.lost();
        self.measures.lost(lost - self.lost_told);
        self.lost_told = lost;
    }

    async fn finish_uses(&mut self) {
        if let Some(uses) = &mut self.uses {
            uses.finish().await;
        }
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
        let ready = self.trail.log.appended().saturating_sub(self.read);
        let mut part = Part::with_room(
            self.pace
                .batch_len_max
                .min(usize::try_from(ready).unwrap_or(usize::MAX)),
        );
        let (mut epoch, mut records, mut unread) = (None, 0, 0);
        while part.events.len() < self.pace.batch_len_max || sent.is_some() {
            if sent.is_some_and(|sent| self.trail.reader.position() >= sent.end) {
                break;
            }
            match self.trail.reader.next(epoch, &mut self.payload) {
                Next::Record { epoch: of } => {
                    epoch = Some(of);
                    let is_own = of == self.trail.log.epoch();
                    records += u64::from(is_own);
                    self.read += u64::from(is_own);
                    match self.decoder.decode(&self.payload) {
                        Some(record) => {
                            part.push(record, self.trail.reader.position(), records);
                            records = 0;
                        }
                        None => unread += 1,
                    }
                }
                // A run of which nothing can be read any more.
                Next::OtherRun if part.events.is_empty() => epoch = None,
                Next::OtherRun | Next::Nothing | Next::Pending => break,
            }
        }
        self.note_losses(unread);
        if part.events.is_empty() {
            let end = self.trail.reader.position();
            if end != start || sent.is_some() {
                self.trail.note_done(end, records);
            }
            // Nothing is left of what was sent. What follows may be of an earlier run as well.
            return sent.and_then(|_| self.collect());
        }
        part.resent = sent.filter(|sent| Some(self.trail.progress().epoch) == epoch && sent.events > 0);
        part.epoch = epoch.unwrap_or_default();
        Some(part)
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
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flusher")
            .field("name", &self.name)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}
