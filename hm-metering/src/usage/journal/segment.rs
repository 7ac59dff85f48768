//! One stretch of the log: records one behind the other, appended by many threads, read by a few.
//!
//! A record is one word and its payload, filled up to whole words. The word holds the payload's length in bytes (low half)
//! and a CRC-32 (IEEE) of the payload that begins at a number made of the segment's, its run's and the record's place (high
//! half). It is written last, in one piece, so a record is there whole or not at all, whenever its writer dies. As the checksum knows the place, nothing
//! that happens to stand inside a payload can be taken for a record.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::map::Words;

/// Records begin behind these.
pub(super) const HEADER_BYTES: u64 = 64;
/// `hmjrnl` and the format's version.
const MAGIC: u64 = u64::from_le_bytes(*b"hmjrnl\0\x01");
/// The longest payload: the largest event has 7,158 bytes.
pub(crate) const PAYLOAD_MAX: usize = 7_160;
/// The longest record, with its word.
pub(crate) const RECORD_MAX: u64 = PAYLOAD_MAX as u64 + 8;

/// Whose run wrote a segment, and where it stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentId {
    /// Rises by one from segment to segment, over all runs.
    pub(super) number: u64,
    /// The run.
    pub(super) epoch: u64,
}

pub(super) struct Segment {
    id: SegmentId,
    words: Words,
    /// Where the next record goes; beyond the end once the segment is full.
    tail: AtomicU64,
    /// Where the last record ended, once the segment is full; zero before.
    sealed_at: AtomicU64,
    /// How many records this run appended.
    records: AtomicU64,
    path: Option<PathBuf>,
    /// Whether it is of an earlier run: nobody writes to it any more.
    is_over: bool,
}

/// A segment has no place left for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// Where its last record ends; one writer is told.
    pub(super) last_end: Option<u64>,
}

/// What stands at a place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A record, which is in the buffer now; the next one stands there.
    Record { next: u64 },
    /// Nothing yet.
    Nothing,
    /// A record that is just being written.
    Pending,
    /// Nothing will ever follow here.
    End,
    /// Bytes that are no record, up to this place. `is_damage` when something finished must have stood there.
    Gap { next: u64, is_damage: bool },
}

impl Segment {
    /// A new one for this run. `words` are all zero.
    pub(super) fn new(id: SegmentId, words: Words, path: Option<PathBuf>) -> Self {
        let segment = Self {
            id,
            words,
            tail: AtomicU64::new(HEADER_BYTES),
            sealed_at: AtomicU64::new(0),
            records: AtomicU64::new(0),
            path,
            is_over: false,
        };
        // For people who look into the file; nothing here reads it.
        let header = [MAGIC, id.number, id.epoch];
        for (word, value) in segment.words.as_slice().iter().zip(header) {
            word.store(value, Ordering::Relaxed);
        }
        segment
    }

    /// One that an earlier run left. Its name says which it is, so its first words are not needed.
    pub(super) const fn earlier(id: SegmentId, words: Words, path: PathBuf) -> Self {
        Self {
            id,
            words,
            tail: AtomicU64::new(u64::MAX),
            sealed_at: AtomicU64::new(0),
            records: AtomicU64::new(0),
            path: Some(path),
            is_over: true,
        }
    }

    pub(super) const fn id(&self) -> SegmentId {
        self.id
    }

    pub(super) const fn path(&self) -> Option<&PathBuf> {
        self.path.as_ref()
    }

    pub(super) const fn words(&self) -> &Words {
        &self.words
    }

    /// Its length in bytes.
    fn len(&self) -> u64 {
        self.words.as_slice().len() as u64 * 8
    }

    /// How many bytes of records surely fit into a segment of `bytes`.
    pub(super) const fn usable(bytes: u64) -> u64 {
        bytes - HEADER_BYTES - RECORD_MAX
    }

    /// Appends a payload.
    ///
    /// # Errors
    /// [`Full`] when there is no place left for it.
    pub(super) fn append(&self, payload: &[u8]) -> Result<(), Full> {
        let takes = record_bytes(payload.len());
        let at = self.tail.fetch_add(takes, Ordering::AcqRel);
        let end = at.saturating_add(takes);
        if end > self.len() {
            if at > self.len() {
                return Err(Full { last_end: None });
            }
            // Places follow each other without gaps, so exactly one writer is the first that does not fit.
            self.sealed_at.store(at, Ordering::Release);
            return Err(Full { last_end: Some(at) });
        }
        let first = (at / 8) as usize;
        let words = &self.words.as_slice()[first..(end / 8) as usize];
        // Four words at a time, which takes half as long as one by one.
        let (fours, rest) = payload.as_chunks::<32>();
        let (places_of_fours, places) = words[1..].as_chunks::<4>();
        for (places, four) in places_of_fours.iter().zip(fours) {
            put(places, four);
        }
        match places_of_fours.get(fours.len()) {
            // What is left takes four words too, the last of them in part.
            Some(last) => put_rest(last, rest),
            None => put_rest(places, rest),
        }
        words[0].store(self.mark(at, payload), Ordering::Release);
        self.records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The word in front of a record.
    fn mark(&self, at: u64, payload: &[u8]) -> u64 {
        // Spread over the upper half, so that neighbouring places begin far from each other.
        let place = ((self.id.number << 32 | at) ^ self.id.epoch).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut crc = crc32fast::Hasher::new_with_initial((place >> 32) as u32);
        crc.update(payload);
        u64::from(crc.finalize()) << 32 | payload.len() as u64
    }

    /// Reads what stands at `at` into `payload`.
    pub(super) fn read(&self, at: u64, payload: &mut Vec<u8>) -> Read {
        if at + 16 > self.len() {
            return Read::End;
        }
        if let Some(next) = self.record_at(at, payload) {
            return Read::Record { next };
        }
        if self.is_over {
            return self.skip(at, payload);
        }
        if self.sealed_at.load(Ordering::Acquire) == at {
            return Read::End;
        }
        if self.tail.load(Ordering::Acquire) > at {
            Read::Pending
        } else {
            Read::Nothing
        }
    }

    fn record_at(&self, at: u64, payload: &mut Vec<u8>) -> Option<u64> {
        let words = self.words.as_slice();
        let first = (at / 8) as usize;
        let mark = words.get(first)?.load(Ordering::Acquire);
        let len = (mark & 0xffff_ffff) as usize;
        if !(1..=PAYLOAD_MAX).contains(&len) {
            return None;
        }
        let next = at + record_bytes(len);
        let places = words.get(first + 1..(next / 8) as usize)?;
        payload.clear();
        for place in places {
            payload.extend_from_slice(&place.load(Ordering::Relaxed).to_le_bytes());
        }
        payload.truncate(len);
        (self.mark(at, payload) == mark).then_some(next)
    }

    /// Looks for the next record behind something that is none, in a segment that nobody writes to any more.
    fn skip(&self, at: u64, payload: &mut Vec<u8>) -> Read {
        let words = self.words.as_slice();
        let is_zero = |at: u64| {
            words
                .get((at / 8) as usize)
                .is_none_or(|word| word.load(Ordering::Relaxed) == 0)
        };
        // A place that was taken and never finished has no mark. Its writer's response did not end.
        let is_damage = !is_zero(at);
        let mut place = at + 8;
        let mut seen_any = is_damage;
        while place + 16 <= self.len() {
            if !is_zero(place) {
                seen_any = true;
                if self.record_at(place, payload).is_some() {
                    return Read::Gap {
                        next: place,
                        is_damage,
                    };
                }
            }
            place += 8;
        }
        if seen_any {
            Read::Gap {
                next: self.len(),
                is_damage,
            }
        } else {
            Read::End
        }
    }

    /// Whether nothing was ever written to it.
    pub(super) fn is_blank(&self) -> bool {
        self.read(HEADER_BYTES, &mut Vec::new()) == Read::End
    }

    /// How many records it has.
    pub(super) fn records(&self) -> u64 {
        if !self.is_over {
            return self.records.load(Ordering::Relaxed);
        }
        let (mut at, mut count, mut payload) = (HEADER_BYTES, 0, Vec::new());
        loop {
            match self.read(at, &mut payload) {
                Read::Record { next } => {
                    count += 1;
                    at = next;
                }
                Read::Gap { next, .. } => at = next,
                Read::Nothing | Read::Pending | Read::End => return count,
            }
        }
    }
}

/// Puts whole words of `bytes` into their places.
#[inline]
fn put(places: &[AtomicU64], bytes: &[u8]) {
    for (place, word) in places.iter().zip(bytes.as_chunks().0) {
        place.store(u64::from_le_bytes(*word), Ordering::Relaxed);
    }
}

/// Puts the end of a payload into its places, filled up to whole words.
#[inline]
fn put_rest(places: &[AtomicU64], bytes: &[u8]) {
    put(places, bytes);
    let (whole, rest) = bytes.as_chunks::<8>();
    if let Some(place) = places.get(whole.len()) {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        place.store(u64::from_le_bytes(last), Ordering::Relaxed);
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How many bytes a record with a payload of `len` takes.
pub(super) const fn record_bytes(len: usize) -> u64 {
    (len as u64).next_multiple_of(8) + 8
}
