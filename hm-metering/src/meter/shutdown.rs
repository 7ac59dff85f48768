//! The end of a meter, and waiting until the ledger has everything.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::flusher::Request;
use super::{Engine, Meter};
use crate::units::Units;

pub(super) struct Tasks {
    pub(super) flushers: Vec<JoinHandle<()>>,
    pub(super) feed: JoinHandle<()>,
    pub(super) book: Option<JoinHandle<()>>,
    pub(super) keeper: JoinHandle<()>,
    /// Whether the flushers have ended with everything recorded.
    pub(super) recorded: bool,
    /// Whether what is in the journal has to survive a loss of power.
    pub(super) forces: bool,
}

impl Tasks {
    fn abort_followers(&self) {
        self.feed.abort();
        self.keeper.abort();
        if let Some(book) = &self.book {
            book.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // The flushers end by themselves when everything that was finished is recorded.
        self.abort_followers();
    }
}

/// What is left when a meter has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Whether every finished request is in the ledger, and known to every other sink. What is not waits in the journal for
    /// the next start; without a journal it is lost.
    pub recorded: bool,
    /// Whether every unspent unit was given back. What was not is given back at the next start with the same journal; without
    /// one it stays taken until the period ends.
    pub released: bool,
    /// How many finished requests the ledger does not have, as far as anybody knows: those of a batch whose outcome is not known
    /// are among them, and so are those that an earlier run left. What other sinks have not heard of is not counted.
    pub events_left: u64,
    /// How many unspent units of all meters were not given back.
    pub units_left: Units,
}

impl Meter {
    /// Waits until everything that was finished before the call is in the ledger, at most for `at_most`. Answers whether
    /// it is: false when the time was over, or when an event was lost meanwhile because the sink will never take it.
    pub async fn flush(&self, at_most: Duration) -> bool {
        let lost = self.events_lost();
        let flush = self.0.ask_flusher(0, Request::Flush);
        timeout(at_most, flush).await.unwrap_or(false) && self.events_lost() == lost
    }

    /// Ends the meter: records what was finished, gives leases back. Requests that come later are refused, so drain the server
    /// first; what is finished later stays in the journal or is lost. Takes `at_most` for both together, which may be [`Duration::MAX`], and then the
    /// moment that it takes to count what is left in the journal.
    ///
    /// Dropping the future leaves the meter unusable and part of the work undone.
    ///
    /// A second call answers what is still left, which is nothing if the first one got everything done.
    pub async fn shutdown(&self, at_most: Duration) -> ShutdownReport {
        let engine = &self.0;
        let began = engine.clock.monotonic();
        engine.log.close();
        let lost = self.events_lost();
        let mut tasks = engine.tasks.lock().await;
        let left = |kept: Duration| {
            let taken = engine.clock.monotonic().saturating_sub(began);
            at_most.saturating_sub(taken).saturating_sub(kept)
        };
        // A quarter of the time is kept for the leases, and half of that for what is to be on the disk.
        let for_disk = if tasks.forces { at_most / 8 } else { Duration::ZERO };
        let ended = tasks.recorded
            || timeout(at_most - at_most / 4, engine.stop_flushers())
                .await
                .unwrap_or(false);
        let recorded = ended && self.events_lost() == lost;
        let released = match &engine.book {
            Some(book) => timeout(left(for_disk), book.give_all_back())
                .await
                .is_ok_and(|left| left == 0),
            None => true,
        };
        tasks.recorded = ended;
        tasks.abort_followers();
        for flusher in tasks.flushers.drain(..) {
            if !ended {
                flusher.abort();
                continue;
            }
            // It may still be telling the key store how often keys were used. That is not waited for longer than for the rest.
            let _ = timeout(left(for_disk), flusher).await;
        }
        engine.log.set_over();
        if tasks.forces {
            match timeout(left(Duration::ZERO), engine.log.force_all()).await {
                Ok(true) => {}
                Ok(false) => engine.measures.sync_failed("events"),
                Err(_) => {
                    tracing::warn!("the journal was not forced to the disk in time; the system does so later")
                }
            }
        }
        ShutdownReport {
            recorded,
            released,
            events_left: engine.log.count_left().await,
            units_left: engine.book.as_ref().map_or(Units::ZERO, |book| book.units_left()),
        }
    }
}

impl Engine {
    /// Asks a flusher for something, and waits until it is done. False when it has ended already.
    async fn ask_flusher(&self, at: usize, request: impl Fn(oneshot::Sender<()>) -> Request) -> bool {
        let (done, answer) = oneshot::channel();
        self.requests[at].send(request(done)).await.is_ok() && answer.await.is_ok()
    }

    async fn stop_flushers(&self) -> bool {
        let mut ended = true;
        for at in 0..self.requests.len() {
            ended &= self.ask_flusher(at, Request::Stop).await;
        }
        ended
    }
}
