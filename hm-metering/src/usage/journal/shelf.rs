//! The segments that wait, to be written or to be read, and the sinks that read them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::log::{Log, start_of};
use super::mark::{Position, Progress};
use super::segment::Segment;

/// Segments that nobody appends to at the moment.
pub(super) struct Shelf {
    /// Those with records, oldest first; the last is the active one, if there is one.
    pub(super) segments: VecDeque<Arc<Segment>>,
    /// Those to come, in the order of their numbers.
    pub(super) spares: VecDeque<Segment>,
    pub(super) next_number: u64,
    /// How far each sink is.
    pub(super) sinks: Vec<Follower>,
    /// Records in memory that were given back to `room`.
    pub(super) given_back: u64,
}

/// A sink, as far as the log has to know it.
#[derive(Debug, Default)]
pub(super) struct Follower {
    pub(super) done: Position,
    /// How many records it took out of this run's log.
    pub(super) records: u64,
    /// Whether segments wait for it however full the log is.
    pub(super) holds: bool,
    /// Records that it will never see.
    pub(super) lost: u64,
}

impl Shelf {
    /// How many segments there are.
    pub(super) fn len(&self) -> u64 {
        (self.segments.len() + self.spares.len()) as u64
    }

    /// Takes out the segments that nobody waits for. Sinks that don't hold lose them when more than `most` are there.
    pub(super) fn take_done(&mut self, active: u64, most: u64) -> Vec<Arc<Segment>> {
        let mut taken = Vec::new();
        while let Some(oldest) = self.segments.front() {
            let number = oldest.id().number;
            let waits = |sink: &Follower| sink.done.segment <= number;
            let is_full = self.segments.len() as u64 > most;
            if number >= active
                || self
                    .sinks
                    .iter()
                    .any(|sink| waits(sink) && (sink.holds || !is_full))
            {
                break;
            }
            let records = oldest.records();
            for sink in &mut self.sinks {
                // One that is in the middle of it has it open and reads on.
                if sink.done.segment < number {
                    sink.lost += records;
                }
            }
            taken.extend(self.segments.pop_front());
        }
        taken
    }
}

impl Log {
    /// The first segment with this number or a later one.
    pub(super) fn segment_from(&self, number: u64) -> Option<Arc<Segment>> {
        let shelf = self.shelf();
        let at = shelf
            .segments
            .partition_point(|segment| segment.id().number < number);
        shelf.segments.get(at).map(Arc::clone)
    }

    /// Where a sink goes on that was `done` when its mark was kept. What the mark names may be gone, with all that was behind
    /// it; then this run gives its number to a segment of its own, which the sink has to read from the beginning.
    pub(super) const fn resume(&self, mut progress: Progress) -> Progress {
        if progress.done.segment >= self.first_own {
            progress.done = start_of(self.first_own);
            progress.sent = None;
        }
        progress
    }

    /// Another sink follows the log from `done` on. Segments wait for it only while there is room if `holds` is false.
    pub(super) fn follow(&self, done: Position, holds: bool) -> usize {
        let mut shelf = self.shelf();
        shelf.sinks.push(Follower {
            done,
            holds,
            ..Follower::default()
        });
        shelf.sinks.len() - 1
    }

    /// A sink has everything up to `done`, `records` more of this run than before.
    pub(super) fn note_done(&self, sink: usize, done: Position, records: u64) {
        let mut shelf = self.shelf();
        let Some(follower) = shelf.sinks.get_mut(sink) else {
            return;
        };
        let moved = follower.done.segment != done.segment;
        follower.done = done;
        follower.records += records;
        if self.directory.is_none() {
            let least = shelf
                .sinks
                .iter()
                .filter(|sink| sink.holds)
                .map(|sink| sink.records)
                .min();
            let more = least.unwrap_or(0).saturating_sub(shelf.given_back);
            shelf.given_back += more;
            self.room
                .fetch_add(i64::try_from(more).unwrap_or(0), Ordering::AcqRel);
        }
        if moved {
            self.tend.notify_one();
        }
    }

    /// How many records a sink will never see, since it was too slow.
    pub(crate) fn lost_to(&self, sink: usize) -> u64 {
        self.shelf().sinks.get(sink).map_or(0, |sink| sink.lost)
    }
}
