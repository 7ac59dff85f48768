//! What a journal is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::Disk;
use super::segment::Segment;

const MIB: u64 = 1_048_576;
/// How often files are forced to the disk at the most, and at the least.
const SYNC_LEAST: Duration = Duration::from_millis(1);
const SYNC_MOST: Duration = Duration::from_secs(3_600);

/// What an event survives once its response is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The end of the process, however it ends: `kill -9`, a panic, out of memory. The operating system has the event.
    Process,
    /// Besides, a loss of power, up to the time given: that often everything is forced to the disk. Less than a millisecond is
    /// taken for one, more than an hour for that.
    ///
    /// When the disk does not take it, what was promised does not hold. Then new requests are refused with 503 until it does,
    /// unless [`WhenFull`] says to serve them.
    Power(Duration),
}

/// What to do with requests when the journal is full, because its sink is down or too slow; and when what has to survive a loss
/// of power can't be forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// Refuse them with 503, so that nothing is served that is not recorded.
    #[default]
    Refuse,
    /// Serve them all the same, and count events that found no place in [`Meter::events_lost`](crate::Meter::events_lost). What they
    /// used is on no bill, and the quota units that they took stay taken until the next start.
    Shed,
}

/// Where events wait for their sink: files in a directory of the local disk.
///
/// An event is in the journal before the last byte of its response leaves, and stays until its sink has it. What a run leaves
/// behind, the next one sends first, under the names that it had: nothing is lost, and nothing is counted twice.
///
/// The directory belongs to one meter at a time. It also holds the replica's identity, so it should not be copied to another
/// installation.
///
/// ```
/// # use std::time::Duration;
/// # use hm_metering::usage::{Durability, Journal};
/// let journal = Journal::new("./data/journal")
///     .durability(Durability::Power(Duration::from_millis(100)))
///     .bytes_max(1 << 30);
/// assert_eq!(journal.directory().to_str(), Some("./data/journal"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Journal {
    directory: PathBuf,
    durability: Durability,
    when_full: WhenFull,
    segment_bytes: u64,
    bytes_max: u64,
    bytes_ready: u64,
    disk: Disk,
}

impl Journal {
    /// A journal in `directory`, which is made if need be: 256 MiB at most, 64 MiB of them ready for bursts,
    /// [`Durability::Process`], [`WhenFull::Refuse`].
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::Process,
            when_full: WhenFull::Refuse,
            segment_bytes: 8 * MIB,
            bytes_max: 256 * MIB,
            bytes_ready: 64 * MIB,
            disk: Disk::default(),
        }
    }

    /// What events survive.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// What to do when it is full.
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// How many bytes of disk it takes at most; an event has about 300, and a request in flight reserves 7 KiB. At least two
    /// segments.
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// How many bytes are kept allocated for what may come at once. Each request in flight reserves 7 KiB of them, since
    /// nobody knows yet how long its event will be. Before they are used up, more are allocated in the background, up to
    /// [`Journal::bytes_max`]; a burst that is faster than that gets 503 for a moment.
    pub const fn bytes_ready(mut self, bytes: u64) -> Self {
        self.bytes_ready = bytes;
        self
    }

    /// How long one file is; at least 64 KiB, 8 MiB unless said.
    pub const fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The disk that it forces its files to, for tests of what a loss of power leaves.
    #[cfg(feature = "testing")]
    pub fn disk(mut self, disk: &crate::testing::TestDisk) -> Self {
        self.disk.test = Some(disk.clone());
        self
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) const fn durability_of(&self) -> Durability {
        self.durability
    }

    pub(super) const fn disk_of(&self) -> &Disk {
        &self.disk
    }

    pub(crate) const fn sheds(&self) -> bool {
        matches!(self.when_full, WhenFull::Shed)
    }

    pub(super) fn sync_interval(&self) -> Option<Duration> {
        match self.durability {
            Durability::Process => None,
            Durability::Power(interval) => Some(interval.clamp(SYNC_LEAST, SYNC_MOST)),
        }
    }

    pub(super) fn shape(&self) -> Shape {
        let segment_bytes = self
            .segment_bytes
            .clamp(65_536, 1_024 * MIB)
            .next_multiple_of(4_096);
        let segments_max = (self.bytes_max / segment_bytes).max(2);
        Shape {
            segment_bytes,
            segments_max,
            segments_ready: (self.bytes_ready / segment_bytes).clamp(2, segments_max),
        }
    }
}

impl<P: Into<PathBuf>> From<P> for Journal {
    fn from(directory: P) -> Self {
        Self::new(directory)
    }
}

/// How a log is cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) segment_bytes: u64,
    pub(super) segments_max: u64,
    /// How many are kept that nothing is written to yet, the one in use included.
    pub(super) segments_ready: u64,
}

impl Shape {
    /// How many bytes of records surely fit into one segment.
    pub(super) const fn usable(&self) -> u64 {
        Segment::usable(self.segment_bytes)
    }

    /// How many bytes of room there are while nothing waits, and with how many left more are made: before those who are
    /// refused find no room, and not merely because the segment in use is nearly full.
    pub(super) fn rooms(&self) -> (i64, i64) {
        let usable = i64::try_from(self.usable()).unwrap_or(i64::MAX);
        let ready = i64::try_from(self.segments_ready).unwrap_or(i64::MAX);
        let most = usable.saturating_mul(ready);
        let spares = usable.saturating_mul(ready - 1);
        (most, (most / 2).saturating_add(usable).min(spares - usable / 2))
    }
}
