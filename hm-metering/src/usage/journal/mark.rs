//! How far a sink has got: which records it has, and which batch it was given last.
//!
//! A mark has two slots that are written in turn, each with a checksum, so that one of them is sound whenever the process
//! dies.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::map::Words;

const SLOT_WORDS: usize = 16;
/// The bytes that both slots take.
pub(super) const MARK_BYTES: usize = SLOT_WORDS * 8 * 2;

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The segment's number.
    pub(crate) segment: u64,
    /// The byte in it.
    pub(crate) at: u64,
}

/// A batch that was sent, whose outcome is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    /// Behind its last record.
    pub(crate) end: Position,
    pub(crate) events: u64,
}

/// How far a sink has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Everything before this is recorded.
    pub(crate) done: Position,
    /// The run that the next batch belongs to, and its number.
    pub(crate) epoch: u64,
    pub(crate) next_batch: u64,
    pub(crate) sent: Option<Sent>,
}

impl Progress {
    const fn to_words(self, turn: u64) -> [u64; 10] {
        let (number, end, events) = match self.sent {
            Some(sent) => (sent.number, sent.end, sent.events),
            None => (0, Position { segment: 0, at: 0 }, 0),
        };
        [
            turn,
            self.done.segment,
            self.done.at,
            self.epoch,
            self.next_batch,
            self.sent.is_some() as u64,
            number,
            end.segment,
            end.at,
            events,
        ]
    }

    const fn from_words(words: &[u64; 10]) -> Self {
        let [
            _,
            segment,
            at,
            epoch,
            next_batch,
            is_sent,
            number,
            end_segment,
            end_at,
            events,
        ] = *words;
        Self {
            done: Position { segment, at },
            epoch,
            next_batch,
            sent: if is_sent == 1 {
                Some(Sent {
                    number,
                    end: Position {
                        segment: end_segment,
                        at: end_at,
                    },
                    events,
                })
            } else {
                None
            },
        }
    }
}

/// A sink's progress, kept where the log is kept.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    words: Arc<Words>,
    turn: u64,
}

impl Mark {
    /// Reads what is there. None for a new one, or one that is not sound in either slot.
    pub(super) fn open(path: PathBuf, words: Arc<Words>) -> (Self, Option<Progress>) {
        let newest = [0, SLOT_WORDS]
            .into_iter()
            .filter_map(|slot| read(&words.as_slice()[slot..slot + SLOT_WORDS]))
            .max_by_key(|words| words[0]);
        let turn = newest.map_or(0, |words| words[0]);
        let progress = newest.map(|words| Progress::from_words(&words));
        (Self { path, words, turn }, progress)
    }

    /// Keeps `progress`. If the process dies meanwhile, what was kept before still stands.
    pub(super) fn keep(&mut self, progress: Progress) {
        self.turn += 1;
        let slot = if self.turn.is_multiple_of(2) {
            0
        } else {
            SLOT_WORDS
        };
        let places = &self.words.as_slice()[slot..slot + SLOT_WORDS];
        let words = progress.to_words(self.turn);
        for (place, word) in places[1..].iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        places[0].store(checksum(&words), Ordering::Release);
    }

    pub(super) const fn path(&self) -> &PathBuf {
        &self.path
    }

    pub(super) const fn words(&self) -> &Arc<Words> {
        &self.words
    }
}

fn read(places: &[AtomicU64]) -> Option<[u64; 10]> {
    let mut words = [0; 10];
    for (word, place) in words.iter_mut().zip(&places[1..]) {
        *word = place.load(Ordering::Relaxed);
    }
    (places[0].load(Ordering::Acquire) == checksum(&words)).then_some(words)
}

/// Never zero, so that a slot that was never written is not sound.
fn checksum(words: &[u64]) -> u64 {
    let mut crc = crc32fast::Hasher::new();
    for word in words {
        crc.update(&word.to_le_bytes());
    }
    1 << 32 | u64::from(crc.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(words: Words) -> (Mark, Option<Progress>) {
        Mark::open(PathBuf::new(), Arc::new(words))
    }

    fn progress(at: u64) -> Progress {
        Progress {
            done: Position { segment: 3, at },
            epoch: 7,
            next_batch: at,
            sent: at.is_multiple_of(2).then_some(Sent {
                number: at,
                end: Position { segment: 4, at: 64 },
                events: 12,
            }),
        }
    }

    #[test]
    fn what_was_kept_last_is_read_again() {
        let (mut mark, before) = open(Words::memory(MARK_BYTES));
        assert_eq!(before, None);
        for at in 1..10 {
            mark.keep(progress(at));
            let (again, read) = Mark::open(mark.path, mark.words);
            assert_eq!(read, Some(progress(at)));
            mark = again;
        }
    }

    #[test]
    fn a_flipped_bit_gives_the_progress_before_and_never_a_wrong_one() {
        for bit in 0..MARK_BYTES * 8 {
            let (mut mark, _) = open(Words::memory(MARK_BYTES));
            mark.keep(progress(1));
            mark.keep(progress(2));
            mark.words.as_slice()[bit / 64].fetch_xor(1 << (bit % 64), Ordering::Relaxed);
            let (_, read) = Mark::open(mark.path, mark.words);
            assert!(
                [Some(progress(1)), Some(progress(2))].contains(&read),
                "bit {bit}: {read:?}"
            );
        }
    }
}
