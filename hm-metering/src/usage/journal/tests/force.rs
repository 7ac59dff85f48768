//! What is forced to the disk, segment by segment.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::TempDir;
use uuid::Uuid;

use super::super::force::{Forced, force};
use super::super::segment::PAYLOAD_MAX;
use super::super::{Journal, Log, Next, Opening, Position, Reader};
use crate::id::ReplicaId;
use crate::testing::TestDisk;

fn log(directory: &TempDir, disk: &TestDisk) -> Arc<Log> {
    let journal = Journal::new(directory.path())
        .segment_bytes(65_536)
        .bytes_max(1 << 20)
        .disk(disk);
    let opening = Opening {
        replica: None,
        epoch: 7,
        batch: 1_000,
    };
    let made = || ReplicaId::from_uuid(Uuid::nil());
    Arc::new(Log::open(&journal, &opening, made).unwrap().1)
}

/// Appends records of the greatest length, so that a few fill a segment.
fn append(log: &Log, records: usize) {
    for _ in 0..records {
        assert!(log.reserve(0) && log.append(&[7; PAYLOAD_MAX]));
    }
}

/// How many records are found after a loss of power.
fn found(disk: &TestDisk) -> usize {
    let left = tempfile::tempdir().unwrap();
    disk.after_power_cut(left.path()).unwrap();
    let log = log(&left, &TestDisk::new());
    let mut reader = Reader::new(log, Position::default());
    let (mut payload, mut count) = (Vec::new(), 0);
    while matches!(reader.next(None, &mut payload), Next::Record { .. }) {
        count += 1;
    }
    count
}

#[test]
fn everything_is_there_that_was_written_before_over_several_segments() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let log = log(&directory, &disk);
    let (mut forced, mut written) = (Forced::default(), 0);
    for records in [1, 3, 0, 20, 7, 40] {
        append(&log, records);
        assert_eq!(found(&disk), written, "{records} more are not there yet");
        force(&log, &mut forced).unwrap();
        written += records;
        assert_eq!(found(&disk), written);
    }
}

#[test]
fn one_that_writes_late_into_a_segment_that_is_full_is_not_forgotten() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let log = log(&directory, &disk);
    let mut forced = Forced::default();
    append(&log, 5);
    let first = log.segment_from(0).unwrap();
    force(&log, &mut forced).unwrap();
    // The third record takes its place, and its word is not written yet.
    let word = &first.words().as_slice()[(64 + 2 * (PAYLOAD_MAX + 8)) / 8];
    let mark = word.swap(0, Ordering::Relaxed);
    append(&log, 10);
    force(&log, &mut forced).unwrap();
    assert_eq!(found(&disk), 14, "all but the one that is not written");
    word.store(mark, Ordering::Relaxed);
    force(&log, &mut forced).unwrap();
    assert_eq!(found(&disk), 15);
    // From then on the segment is left alone.
    let before = disk.forced();
    force(&log, &mut forced).unwrap();
    assert_eq!(disk.forced() - before, 1);
}

#[test]
fn what_the_disk_did_not_take_is_forced_again() {
    let (directory, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let log = log(&directory, &disk);
    let mut forced = Forced::default();
    append(&log, 3);
    disk.fail();
    assert!(force(&log, &mut forced).is_err());
    append(&log, 20);
    assert!(force(&log, &mut forced).is_err());
    disk.recover();
    force(&log, &mut forced).unwrap();
    assert_eq!(found(&disk), 23);
}
