//! Cutting a range of time into what rollups have, and the rest.

use hm_metering::usage::Grain;

/// Where the sums of a part of a range are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Source {
    Events,
    Rollup(Grain),
}

/// A part of a range; its end is not in it. One of a rollup begins and ends where a grain does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Piece {
    pub(in crate::store) source: Source,
    pub(in crate::store) from: i64,
    pub(in crate::store) to: i64,
}

/// The parts of a range in order of time: at most one of whole grains of the `coarsest` kind, and on each side of it at
/// most one of each finer kind.
pub(in crate::store) fn tile(from: i64, to: i64, coarsest: Grain) -> Vec<Piece> {
    let mut pieces = Vec::new();
    cut(from, to, Some(coarsest), &mut pieces);
    pieces
}

fn cut(from: i64, to: i64, coarsest: Option<Grain>, pieces: &mut Vec<Piece>) {
    if from >= to {
        return;
    }
    let Some(grain) = coarsest else {
        let source = Source::Events;
        pieces.push(Piece { source, from, to });
        return;
    };
    let finer = match grain {
        Grain::Day => Some(Grain::Hour),
        Grain::Hour => Some(Grain::Minute),
        Grain::Minute => None,
    };
    let length = grain.micros();
    // Times lie within the years 1 to 9999, far from the ends of the numbers.
    let first = from + (length - from.rem_euclid(length)) % length;
    let last = to - to.rem_euclid(length);
    if first >= last {
        return cut(from, to, finer, pieces);
    }
    cut(from, first, finer, pieces);
    pieces.push(Piece {
        source: Source::Rollup(grain),
        from: first,
        to: last,
    });
    cut(last, to, finer, pieces);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn pieces_follow_each_other_from_start_to_end_and_are_few() {
        for (from, to) in [
            (0, DAY),
            (-1, DAY + 1),
            (-DAY - 5, 3 * DAY + HOUR + MINUTE + 1),
            (5, 6),
            (59 * MINUTE + 1, HOUR + MINUTE + 1),
            (-3 * HOUR - 1, -2 * HOUR + 1),
        ] {
            for coarsest in [Grain::Minute, Grain::Hour, Grain::Day] {
                let pieces = tile(from, to, coarsest);
                let mut at = from;
                for piece in &pieces {
                    assert_eq!(piece.from, at);
                    assert!(piece.from < piece.to);
                    if let Source::Rollup(grain) = piece.source {
                        assert_eq!(piece.from.rem_euclid(grain.micros()), 0);
                        assert_eq!(piece.to.rem_euclid(grain.micros()), 0);
                    } else {
                        assert!(piece.to - piece.from < 2 * MINUTE, "{piece:?}");
                    }
                    at = piece.to;
                }
                assert_eq!(at, to);
                assert!(pieces.len() <= 7, "{pieces:?}");
            }
        }
        assert_eq!(tile(5, 5, Grain::Day), []);
        assert_eq!(tile(6, 5, Grain::Day), []);
    }

    #[test]
    fn whole_days_are_one_piece() {
        let piece = Piece {
            source: Source::Rollup(Grain::Day),
            from: -DAY,
            to: 30 * DAY,
        };
        assert_eq!(tile(-DAY, 30 * DAY, Grain::Day), [piece]);
    }
}
