//! Damaged segments: what is read was written, and what is not hit is read.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::super::map::Words;
use super::super::segment::{HEADER_BYTES, Read, Segment, SegmentId};

const ID: SegmentId = SegmentId {
    number: 3,
    epoch: 0x1234_5678_9abc,
};
const SEGMENT_BYTES: usize = 1_024;

/// Payloads of several lengths, one of which looks like the words of a record.
fn payloads() -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = [1, 8, 13, 64, 7, 40]
        .iter()
        .enumerate()
        .map(|(at, length)| vec![0xa0 + u8::try_from(at).unwrap(); *length])
        .collect();
    payloads.push(
        [9_u64, 0, u64::MAX]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect(),
    );
    payloads
}

/// The words of a segment with these records, and where the last one ends.
fn written(payloads: &[Vec<u8>]) -> (Vec<u64>, usize) {
    let segment = Segment::new(ID, Words::memory(SEGMENT_BYTES), None);
    let mut end = HEADER_BYTES;
    for payload in payloads {
        segment.append(payload).unwrap();
    }
    while let Read::Record { next } = segment.read(end, &mut Vec::new()) {
        end = next;
    }
    let words = segment.words().as_slice().iter();
    (
        words.map(|word| word.load(Ordering::Relaxed)).collect(),
        usize::try_from(end).unwrap(),
    )
}

/// Everything that a later run reads from a segment with these words.
fn read(words: &[u64]) -> Vec<Vec<u8>> {
    let memory = Words::memory(words.len() * 8);
    for (place, word) in memory.as_slice().iter().zip(words) {
        place.store(*word, Ordering::Relaxed);
    }
    let segment = Segment::earlier(ID, memory, PathBuf::new());
    let (mut at, mut payload, mut found) = (HEADER_BYTES, Vec::new(), Vec::new());
    loop {
        let before = at;
        match segment.read(at, &mut payload) {
            Read::Record { next } => {
                found.push(payload.clone());
                at = next;
            }
            Read::Gap { next, .. } => at = next,
            Read::End => break,
            other @ (Read::Nothing | Read::Pending) => panic!("{other:?} in a segment that nobody writes to"),
        }
        assert!(at > before, "reading goes on");
    }
    assert_eq!(segment.records(), found.len() as u64);
    found
}

/// Whether `some` are of `all`, in their order.
fn is_part(some: &[Vec<u8>], all: &[Vec<u8>]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|one| rest.any(|other| other == one))
}

#[test]
fn every_flipped_bit_costs_at_most_the_record_that_it_hits() {
    let payloads = payloads();
    let (words, end) = written(&payloads);
    assert_eq!(read(&words), payloads);
    let header = usize::try_from(HEADER_BYTES).unwrap();
    for bit in 0..(end + 64) * 8 {
        let mut damaged = words.clone();
        damaged[bit / 64] ^= 1 << (bit % 64);
        let found = read(&damaged);
        assert!(is_part(&found, &payloads), "bit {bit}: {found:?}");
        let is_hit = (header..end).contains(&(bit / 8));
        let least = payloads.len() - usize::from(is_hit);
        assert!(found.len() >= least, "bit {bit}: {} are left", found.len());
    }
}

#[test]
fn every_changed_byte_costs_at_most_the_record_that_it_hits() {
    let payloads = payloads();
    let (words, end) = written(&payloads);
    for byte in usize::try_from(HEADER_BYTES).unwrap()..end {
        for value in 0..=u8::MAX {
            let mut damaged = words.clone();
            let mut bytes = damaged[byte / 8].to_le_bytes();
            bytes[byte % 8] = value;
            damaged[byte / 8] = u64::from_le_bytes(bytes);
            let found = read(&damaged);
            assert!(is_part(&found, &payloads), "byte {byte} as {value}: {found:?}");
            assert!(
                found.len() + 1 >= payloads.len(),
                "byte {byte} as {value}: {} are left",
                found.len()
            );
        }
    }
}

#[test]
fn a_segment_cut_short_gives_what_is_whole() {
    let payloads = payloads();
    let (words, _) = written(&payloads);
    let mut before = 0;
    for length in 0..words.len() {
        let found = read(&words[..length]);
        assert_eq!(found, payloads[..found.len()], "{length} words");
        assert!(found.len() >= before, "{length} words");
        before = found.len();
    }
    assert_eq!(before, payloads.len());
}

proptest! {
    #[test]
    fn any_words_can_be_read_and_hold_nothing(words in prop::collection::vec(any::<u64>(), 0..256)) {
        // One in four thousand million looks like a record by chance.
        prop_assert_eq!(read(&words), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn what_is_read_was_written_however_much_is_damaged(
        changes in prop::collection::vec((0..SEGMENT_BYTES / 8, any::<u64>()), 0..20),
    ) {
        let payloads = payloads();
        let (mut words, _) = written(&payloads);
        for (at, word) in changes {
            words[at] = word;
        }
        let found = read(&words);
        prop_assert!(is_part(&found, &payloads), "{:?}", found);
    }

    #[test]
    fn a_record_moved_to_another_place_is_none(from in 8_usize..60, to in 8_usize..60, length in 1_usize..30) {
        let payloads = payloads();
        let (mut words, _) = written(&payloads);
        words.copy_within(from..from + length, to);
        let found = read(&words);
        prop_assert!(is_part(&found, &payloads), "{:?}", found);
    }
}
