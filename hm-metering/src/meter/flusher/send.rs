//! Sending what was collected, batch by batch.

use std::mem;
use std::sync::Arc;

use tracing::Instrument;

use super::Flusher;
use super::attempt::Sending;
use super::part::Part;
use super::sums::settlements;
use crate::quota::LeaseBook;
use crate::usage::journal::Sent;
use crate::usage::{Batch, BatchId};

impl Flusher {
    /// Records a part, however often it takes. A batch that the sink will never take is halved until the event that is
    /// wrong stands alone; that one is given up with an error in the log. False when the rest is left to a later run.
    pub(super) async fn send(&mut self, part: Part) -> bool {
        let mut parts = vec![part];
        while let Some(mut part) = parts.pop() {
            let Some(last) = part.ends.last() else {
                continue;
            };
            let (end, epoch, resent) = (last.at, part.epoch, part.resent);
            let records = part.ends.iter().map(|end| end.records).sum();
            let number = self.number_for(epoch, resent);
            let events = part.events.len() as u64;
            self.trail.note_sent(epoch, Sent { number, end, events });
            if self.pace.syncs && !self.trail.sync().await {
                self.measures.sync_failed("progress");
            }
            let is_this_run = epoch == self.trail.log.epoch();
            let batch = self.batch(&mut part, number);
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
                    if let Some(uses) = &mut self.uses {
                        uses.note(&batch.events);
                        if uses.are_many() {
                            uses.tell().await;
                        }
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
                        _ => {
                            part.events = batch.events;
                            parts.extend(part.halves());
                        }
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

    /// A batch of the part's events, which it takes out of it.
    fn batch(&self, part: &mut Part, number: u64) -> Arc<Batch> {
        let settlements = match &self.settling {
            Some(_) => settlements(&part.events, &part.ends),
            None => Vec::new(),
        };
        Arc::new(Batch {
            id: BatchId {
                replica: self.replica,
                epoch: part.epoch,
                number,
            },
            created_at: self.clock.now(),
            events: mem::take(&mut part.events),
            settlements,
        })
    }
}
