//! Forcing a log to the disk.

use std::io;
use std::sync::atomic::Ordering;

use super::keeper::PAGE_WORDS;
use super::log::Log;
use super::segment::Segment;

/// How far a log is forced to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Forced {
    /// All segments before this one are there whole.
    segment: u64,
    /// The last one that there was.
    last: u64,
    /// The names of all segments before this one are there.
    names: u64,
    /// How often it failed since it last did not.
    pub(super) failures: u64,
}

/// Forces everything that was written since the last time to the disk. Blocks.
///
/// # Errors
/// When the system says that it is not there. The next time does it again.
pub(super) fn force(log: &Log, forced: &mut Forced) -> io::Result<()> {
    let Some(directory) = &log.directory else {
        return Ok(());
    };
    let next = log.shelf().next_number;
    if forced.names != next {
        directory.sync()?;
        forced.names = next;
    }
    let (mut next, mut last) = (forced.segment, 0);
    while let Some(segment) = log.segment_from(next) {
        if let Some(path) = segment.path()
            && let Err(error) = directory.force(path, segment.words())
        {
            write_again(&segment);
            return Err(error);
        }
        last = segment.id().number;
        next = last + 1;
    }
    // The last one is written to again. One that had been the last may be as well, by those who took their place in it before:
    // it has a second turn.
    forced.segment = last.min(forced.last.max(forced.segment));
    forced.last = last;
    Ok(())
}

/// Writes a word of each page once more, with what it has. The system takes a page that it failed to write for clean, and would
/// say the next time that it is on the disk.
fn write_again(segment: &Segment) {
    for word in segment.words().as_slice().iter().step_by(PAGE_WORDS) {
        let value = word.load(Ordering::Relaxed);
        // If somebody else was faster, the page is written to as well.
        let _ = word.compare_exchange(value, value, Ordering::Relaxed, Ordering::Relaxed);
    }
}
