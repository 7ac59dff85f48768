//! Many writers and a reader that follows them over several segments.

use std::sync::Arc;
use std::thread;

use tempfile::TempDir;
use uuid::Uuid;

use super::super::segment::PAYLOAD_MAX;
use super::super::{Journal, Log, Next, Opening, Position, Reader};
use crate::id::ReplicaId;

const EPOCH: u64 = 7;
const WRITERS: u64 = 6;
const RECORDS: u64 = 1_500;

/// In files of 64 KiB, all of them ready.
fn in_files(directory: &TempDir) -> Log {
    let journal = Journal::new(directory.path())
        .segment_bytes(65_536)
        .bytes_max(16 << 20)
        .bytes_ready(16 << 20);
    let opening = Opening {
        replica: None,
        epoch: EPOCH,
        batch: 1_000,
    };
    let made = || ReplicaId::from_uuid(Uuid::nil());
    Log::open(&journal, &opening, made).unwrap().1
}

/// A record that says whose it is and which one; the lengths are all over the place.
fn payload(writer: u64, number: u64) -> Vec<u8> {
    let length = 16 + (number * 37 + writer * 101) % 700;
    let mut payload: Vec<u8> = [writer, number]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    payload.resize(usize::try_from(length).unwrap(), payload[8]);
    payload
}

fn every_record_once_and_in_order(log: Log) {
    let log = Arc::new(log);
    let mut reader = Reader::new(Arc::clone(&log), Position::default());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let log = &log;
            scope.spawn(move || {
                for number in 0..RECORDS {
                    assert!(log.reserve(0), "there is room for all of them");
                    assert!(log.append(&payload(writer, number)));
                }
            });
        }
        let (mut next, mut found) = ([0; WRITERS as usize], Vec::new());
        while next.iter().sum::<u64>() < WRITERS * RECORDS {
            match reader.next(Some(EPOCH), &mut found) {
                Next::Record { epoch } => {
                    let writer = u64::from_le_bytes(found[..8].try_into().unwrap());
                    let number = &mut next[usize::try_from(writer).unwrap()];
                    assert_eq!((epoch, &found), (EPOCH, &payload(writer, *number)));
                    *number += 1;
                }
                Next::Nothing | Next::Pending => thread::yield_now(),
                Next::OtherRun => panic!("there is no other run"),
            }
        }
    });
    assert_eq!(
        reader.next(None, &mut Vec::new()),
        Next::Nothing,
        "nothing comes twice"
    );
    assert!(reader.position().segment > 2, "it went over several segments");
    assert_eq!(
        (log.appended(), log.lost(), reader.damaged()),
        (WRITERS * RECORDS, 0, 0)
    );
}

#[test]
fn a_reader_of_files_gets_every_record_once_and_in_the_order_of_its_writer() {
    let directory = tempfile::tempdir().unwrap();
    every_record_once_and_in_order(in_files(&directory));
}

#[test]
fn a_reader_of_memory_gets_every_record_once_and_in_the_order_of_its_writer() {
    every_record_once_and_in_order(Log::in_memory(1_000_000, EPOCH, 1_000));
}

#[test]
fn a_record_that_is_too_long_is_lost_and_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let log = Arc::new(in_files(&directory));
    let longest = vec![1; PAYLOAD_MAX];
    for payload in [&longest[..], &vec![2; PAYLOAD_MAX + 1], &[3]] {
        assert!(log.reserve(0));
        assert_eq!(log.append(payload), payload.len() <= PAYLOAD_MAX);
    }
    let mut reader = Reader::new(Arc::clone(&log), Position::default());
    let mut found = Vec::new();
    for expected in [&longest[..], &[3]] {
        assert_eq!(reader.next(None, &mut found), Next::Record { epoch: EPOCH });
        assert_eq!(found, expected);
    }
    assert_eq!(reader.next(None, &mut found), Next::Nothing);
    assert_eq!(log.lost(), 1);
}
