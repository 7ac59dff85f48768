//! The log of finished requests: segments one behind the other, in memory or in files.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};

use super::config::Shape;
use super::directory::Directory;
use super::map::Words;
use super::mark::Position;
use super::segment::{Full, HEADER_BYTES, PAYLOAD_MAX, RECORD_MAX, Segment, SegmentId, record_bytes};
use super::shelf::Shelf;

/// Where finished requests wait for the sinks.
///
/// Appending takes no lock and does no I/O: segments are made beforehand, by the [keeper](super::keeper).
pub(crate) struct Log {
    pub(super) shape: Shape,
    epoch: u64,
    /// None for a log in memory.
    pub(super) directory: Option<Directory>,
    /// The number of the first segment of this run.
    pub(super) first_own: u64,
    active: ArcSwapOption<Segment>,
    pub(super) shelf: Mutex<Shelf>,
    /// What is left to be reserved: bytes of files, or records in memory.
    pub(super) room: AtomicI64,
    /// What it is when nothing waits.
    room_max: i64,
    /// When less than this is left, the keeper makes more.
    room_low: i64,
    /// How much a record takes of it until its length is known.
    reserve: i64,
    is_closed: AtomicBool,
    /// Whether what has to be forced to the disk was, the last time.
    is_forced: AtomicBool,
    appended: AtomicU64,
    lost: AtomicU64,
    /// Set when nobody follows any more.
    is_over: AtomicBool,
    /// The sinks are woken each time that this many more records are there.
    batch: u64,
    batches: watch::Sender<u64>,
    pub(super) tend: Notify,
}

impl Log {
    /// A log in memory for `records` requests that are in flight or wait to be recorded.
    pub(crate) fn in_memory(records: usize, epoch: u64, batch: usize) -> Self {
        let shape = Shape {
            segment_bytes: 1_048_576,
            segments_max: u64::MAX,
            segments_ready: 2,
        };
        let room = i64::try_from(records).unwrap_or(i64::MAX);
        Self::new(shape, None, Vec::new(), epoch, batch, (room, 1))
    }

    /// A log in files, behind what earlier runs left.
    pub(super) fn in_files(
        shape: Shape,
        directory: Directory,
        earlier: Vec<Segment>,
        epoch: u64,
        batch: usize,
    ) -> Self {
        Self::new(
            shape,
            Some(directory),
            earlier,
            epoch,
            batch,
            (0, RECORD_MAX as i64),
        )
    }

    fn new(
        shape: Shape,
        directory: Option<Directory>,
        earlier: Vec<Segment>,
        epoch: u64,
        batch: usize,
        (room, reserve): (i64, i64),
    ) -> Self {
        let next_number = earlier.last().map_or(1, |last| last.id().number + 1);
        let (room_max, room_low) = match &directory {
            Some(_) => shape.rooms(),
            // Memory is there already.
            None => (room, i64::MIN),
        };
        Self {
            shape,
            epoch,
            directory,
            first_own: next_number,
            active: ArcSwapOption::empty(),
            shelf: Mutex::new(Shelf {
                segments: earlier.into_iter().map(Arc::new).collect(),
                spares: VecDeque::new(),
                next_number,
                sinks: Vec::new(),
                given_back: 0,
            }),
            room: AtomicI64::new(room),
            room_max,
            room_low,
            reserve,
            is_closed: AtomicBool::new(false),
            is_forced: AtomicBool::new(true),
            appended: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            batch: batch as u64,
            is_over: AtomicBool::new(false),
            batches: watch::Sender::default(),
            tend: Notify::new(),
        }
    }

    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This run.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes room for one record, so that it surely finds a place later. False when there is none left beyond `spare`
    /// hundredths of all, or the log is closed.
    pub(crate) fn reserve(&self, spare: i64) -> bool {
        if self.is_closed() {
            return false;
        }
        let least = if spare == 0 {
            0
        } else {
            self.room_max / 100 * spare
        };
        let before = self.room.fetch_sub(self.reserve, Ordering::AcqRel);
        let left = before - self.reserve;
        if left >= least {
            if left < self.room_low && before >= self.room_low {
                self.tend.notify_one();
            }
            return true;
        }
        self.unreserve();
        self.tend.notify_one();
        false
    }

    /// Gives back what [`Log::reserve`] took, for a request that gets no record.
    pub(crate) fn unreserve(&self) {
        self.room.fetch_add(self.reserve, Ordering::AcqRel);
    }

    /// Appends a record, for which room was reserved. False when it is lost all the same: the system did not keep its word.
    pub(crate) fn append(&self, payload: &[u8]) -> bool {
        if payload.len() > PAYLOAD_MAX {
            // No reader would believe it, and all of them would wait for it.
            tracing::error!(
                bytes = payload.len(),
                "an event is too long for the journal; it is lost"
            );
            self.unreserve();
            self.note_lost(1);
            return false;
        }
        let takes = record_bytes(payload.len());
        if self.directory.is_some() {
            self.room.fetch_add(self.reserve - takes as i64, Ordering::AcqRel);
        }
        loop {
            let active = self.active.load();
            let full = match active.as_ref() {
                Some(segment) => match segment.append(payload) {
                    Ok(()) => break,
                    Err(full) => {
                        self.note_full(full);
                        segment.id().number
                    }
                },
                None => 0,
            };
            drop(active);
            if !self.roll(full) {
                self.note_lost(1);
                return false;
            }
        }
        let appended = self.appended.fetch_add(1, Ordering::AcqRel) + 1;
        if appended.is_multiple_of(self.batch) {
            self.batches.send_modify(|batches| *batches += 1);
        }
        if self.is_over.load(Ordering::Acquire) && !self.is_kept() {
            tracing::error!("a request ended after the meter was shut down; its event is lost");
            self.note_lost(1);
            return false;
        }
        true
    }

    /// A segment holds a little more than what is surely usable, so more was taken of the room than it had given.
    fn note_full(&self, full: Full) {
        if let (Some(end), true) = (full.last_end, self.is_kept()) {
            let more = (end - HEADER_BYTES).saturating_sub(self.shape.usable());
            self.room
                .fetch_add(i64::try_from(more).unwrap_or(0), Ordering::AcqRel);
        }
    }

    /// Puts the next segment in the place of the one that is full. False when there is none and none can be made.
    fn roll(&self, full: u64) -> bool {
        let mut shelf = self.shelf();
        let active = self
            .active
            .load()
            .as_ref()
            .map_or(0, |segment| segment.id().number);
        if active != full {
            // Somebody else was faster.
            return true;
        }
        let next = match shelf.spares.pop_front() {
            Some(spare) => spare,
            // The keeper did not keep up. A wait here is better than a loss.
            None => match self.make(&mut shelf) {
                Ok(segment) => segment,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the journal can't go on"
                    );
                    return false;
                }
            },
        };
        let next = Arc::new(next);
        shelf.segments.push_back(Arc::clone(&next));
        self.active.store(Some(next));
        self.tend.notify_one();
        true
    }

    /// Makes one more segment, and room for its records.
    ///
    /// # Errors
    /// When there are as many as there may be, or the system can't make one.
    pub(super) fn make(&self, shelf: &mut Shelf) -> io::Result<Segment> {
        if shelf.len() >= self.shape.segments_max {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the journal is full",
            ));
        }
        let id = SegmentId {
            number: shelf.next_number,
            epoch: self.epoch,
        };
        let bytes = self.shape.segment_bytes;
        let segment = match &self.directory {
            Some(directory) => directory.create(id, bytes)?,
            None => Segment::new(
                id,
                Words::memory(usize::try_from(bytes).unwrap_or(usize::MAX)),
                None,
            ),
        };
        shelf.next_number += 1;
        if self.is_kept() {
            let usable = i64::try_from(self.shape.usable()).unwrap_or(0);
            self.room.fetch_add(usable, Ordering::AcqRel);
        }
        Ok(segment)
    }

    /// No more requests are let in.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Nobody records what is appended from now on, unless a later run does.
    pub(crate) fn set_over(&self) {
        self.close();
        self.is_over.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Whether the disk took what had to be forced to it, the last time that it was asked to.
    pub(crate) fn is_forced(&self) -> bool {
        self.is_forced.load(Ordering::Acquire)
    }

    pub(super) fn set_forced(&self, is_forced: bool) {
        self.is_forced.store(is_forced, Ordering::Release);
    }

    /// Forces the words of one of its files to the disk. Blocks.
    pub(super) fn force(&self, path: &Path, words: &Words) -> io::Result<()> {
        match &self.directory {
            Some(directory) => directory.force(path, words),
            None => Ok(()),
        }
    }

    /// Whether what is in it outlives the process.
    pub(crate) const fn is_kept(&self) -> bool {
        self.directory.is_some()
    }

    /// Rises with each full batch, so that no sink sleeps through one.
    pub(crate) fn batches(&self) -> watch::Receiver<u64> {
        self.batches.subscribe()
    }

    /// Whether so little room is left that more should be made, if it may.
    pub(super) fn is_short(&self) -> bool {
        self.room.load(Ordering::Acquire) < self.room_low
    }

    /// The share of its room that is left.
    pub(crate) fn room_left(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than it has")]
        let share = self.room.load(Ordering::Acquire) as f64 / self.room_max.max(1) as f64;
        share.clamp(0.0, 1.0)
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> u64 {
        self.shelf().len()
    }

    /// The number of the segment that is appended to; the greatest one while there is none.
    pub(super) fn active_number(&self) -> u64 {
        self.active
            .load()
            .as_ref()
            .map_or(u64::MAX, |segment| segment.id().number)
    }

    /// How many records this run appended.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// How many events found no place or will never be taken.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn note_lost(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::AcqRel);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("epoch", &self.epoch)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

/// Where the first record of a segment stands.
pub(super) const fn start_of(segment: u64) -> Position {
    Position {
        segment,
        at: HEADER_BYTES,
    }
}
