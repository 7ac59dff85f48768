//! Hours of a local clock.

use super::Zone;

const HOUR: i64 = 3_600;

/// Start and end of the hour around `at` in `zone`, all in seconds since the epoch.
///
/// An hour begins whenever the local clock reads a full hour, and where it jumps over one. When it is set back by a
/// whole hour, the hour that comes again is one of its own. When it is set back by half an hour, the hour in which
/// that happens is half an hour longer. No zone changes its clock twice within an hour.
pub(super) fn around(at: i64, zone: Zone) -> (i64, i64) {
    (start(at, zone), end(at, zone))
}

fn start(at: i64, zone: Zone) -> i64 {
    let start = at - past_the_hour(at, zone);
    match change(start, at, zone) {
        None => start,
        Some(change) if is_start(change, zone) => change,
        Some(change) => change - 1 - past_the_hour(change - 1, zone),
    }
}

fn end(at: i64, zone: Zone) -> i64 {
    let end = next(at, zone);
    match change(at, end, zone) {
        None => end,
        Some(change) if is_start(change, zone) => change,
        Some(change) => next(change, zone),
    }
}

/// How many seconds the local clock is past the full hour.
fn past_the_hour(at: i64, zone: Zone) -> i64 {
    (at + zone.offset_at(at)).rem_euclid(HOUR)
}

/// The next full hour, if the clock is not changed before.
fn next(at: i64, zone: Zone) -> i64 {
    at - past_the_hour(at, zone) + HOUR
}

/// When the clock is changed after `from` and not after `to`.
fn change(from: i64, to: i64, zone: Zone) -> Option<i64> {
    let (mut before, mut after) = (from, to);
    let offset = zone.offset_at(before);
    if zone.offset_at(after) == offset {
        return None;
    }
    while after - before > 1 {
        let middle = before.midpoint(after);
        if zone.offset_at(middle) == offset {
            before = middle;
        } else {
            after = middle;
        }
    }
    Some(after)
}

/// Whether an hour begins at this change of the clock.
fn is_start(change: i64, zone: Zone) -> bool {
    // What the clock would have read, and what it reads.
    let (would, reads) = (
        change + zone.offset_at(change - 1),
        change + zone.offset_at(change),
    );
    let past = reads.rem_euclid(HOUR);
    past == 0 || reads - past >= would
}
