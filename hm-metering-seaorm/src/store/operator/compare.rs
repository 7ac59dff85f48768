//! Where what is written down twice differs. Arithmetic only.

use std::fmt;

use hm_metering::period::Period;
use hm_metering::{AccountId, KeyId, MeterName, Units};

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Witness {
    /// A quota counter with the events and rollups of its period.
    Counter,
    /// What a counter says is leased, with the leases that are open.
    Leases,
    /// The summary of a period: its units with its counter, its number of events with the events.
    Summary,
    /// Sums by minute, with the events of a day.
    Minutes,
    /// Sums by hour, with the events of a day.
    Hours,
    /// Sums by day, with its events.
    Days,
    /// Sums by route, with the events of a day.
    Endpoints,
    /// The days on which an account is said to have been active, with its events.
    ActiveDays,
}

impl Witness {
    pub(super) const BY_GRAIN: [Self; 3] = [Self::Minutes, Self::Hours, Self::Days];

    /// Whether making rollups anew from the events can help.
    #[must_use]
    pub const fn is_rollup(self) -> bool {
        match self {
            Self::Minutes | Self::Hours | Self::Days | Self::Endpoints | Self::ActiveDays => true,
            Self::Counter | Self::Leases | Self::Summary => false,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Leases => "leases",
            Self::Summary => "summary",
            Self::Minutes => "rollups by minute",
            Self::Hours => "rollups by hour",
            Self::Days => "rollups by day",
            Self::Endpoints => "rollups by endpoint",
            Self::ActiveDays => "active days",
        }
    }
}

/// What was counted or added up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Counted {
    /// Events.
    Events,
    /// Events that did not reach the handler.
    Refused,
    /// Events that did and were answered with a status of 500 or more.
    Failed,
    /// Units of a meter.
    Units(MeterName),
    /// Events that were charged units of a meter.
    Charged(MeterName),
    /// Units of a meter that counted against the quota of one key.
    UnitsOfKey(KeyId, MeterName),
    /// Microseconds that the answers of all events that reached the handler took together.
    ResponseTime,
    /// Microseconds that the longest of them took.
    LongestResponse,
    /// The events that percentiles are made of. Where their numbers are the same, they took other times.
    ResponseTimes,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events => f.write_str("events"),
            Self::Refused => f.write_str("refused events"),
            Self::Failed => f.write_str("failed events"),
            Self::Units(meter) => write!(f, "meter {}", meter.as_str()),
            Self::Charged(meter) => write!(f, "events charged in meter {}", meter.as_str()),
            Self::UnitsOfKey(key, meter) => write!(f, "meter {} of key {key}", meter.as_str()),
            Self::ResponseTime => f.write_str("microseconds of all responses"),
            Self::LongestResponse => f.write_str("microseconds of the longest response"),
            Self::ResponseTimes => f.write_str("response times"),
        }
    }
}

/// Numbers that should be the same and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub account: AccountId,
    /// What of it.
    pub what: Counted,
    /// In which period of a counter, or on which day.
    pub period: Period,
    /// What was compared.
    pub witness: Witness,
    /// What the counter says, or, of leases, how much is leased; none where no counter is meant, or there is none.
    pub counter: Option<Units>,
    /// What the events say, or the open leases; none where they were pruned or are not meant.
    pub events: Option<Units>,
    /// What the rollups say, or the summary; none where they are not meant, can't be read, or there is none. Of active days:
    /// whether it is one.
    pub rollups: Option<Units>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [counter, events, rollups] = match self.witness {
            Witness::Leases => ["leased", "open leases", ""],
            Witness::Summary if matches!(self.what, Counted::Charged(_)) => ["", "events", "summary"],
            Witness::Summary => ["counter", "", "summary"],
            Witness::Counter => ["counter", "events", "rollups"],
            Witness::ActiveDays => ["", "events", "active days"],
            Witness::Minutes | Witness::Hours | Witness::Days | Witness::Endpoints => {
                ["", "events", "rollups"]
            }
        };
        write!(
            f,
            "{}: account {} {} period {} to {}",
            self.witness.as_str(),
            self.account,
            self.what,
            self.period.start,
            self.period.end
        )?;
        for (name, units) in [
            (counter, self.counter),
            (events, self.events),
            (rollups, self.rollups),
        ] {
            if !name.is_empty() {
                let units = units.map_or_else(|| "none".to_owned(), |units| units.to_string());
                write!(f, " {name} {units}")?;
            }
        }
        Ok(())
    }
}

/// A counter, or several whose periods overlap because the plan was changed, with what the ledger has for their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) counted: i64,
    pub(super) charged: i64,
    /// What was charged by requests that came in the last moments before the start, and before the end. A request that
    /// had to wait across the end of a period is charged in the next.
    pub(super) just_before: i64,
    pub(super) last: i64,
}

/// How long after a key got its quotas all replicas count for it, in microseconds: they hear of it within seconds, and where nobody
/// can be asked some go on with what they knew for a while.
pub(super) const HEARD_AFTER: i64 = 3_600_000_000;

/// Which of the stretches of a key's meter, in order of time, differ from the ledger. The key has had the quota since `since`; none if
/// it has none any more.
///
/// What a key uses while it has no quota is in no counter, so before that moment the ledger may have more, and never less.
pub(super) fn differing_of_key(stretches: &[Stretch], since: Option<i64>) -> Vec<Stretch> {
    let counts_all =
        |stretch: &Stretch| since.is_some_and(|since| stretch.start >= since.saturating_add(HEARD_AFTER));
    let (early, late) = stretches.split_at(stretches.partition_point(|stretch| !counts_all(stretch)));
    let has_more = |stretch: &&Stretch| stretch.counted > stretch.charged + stretch.just_before;
    let mut found: Vec<Stretch> = early.iter().filter(has_more).copied().collect();
    found.extend(differing(late));
    found
}

/// How long before the end of a period a request may have come that was charged in the next, in microseconds. Requests
/// wait for stores for some seconds at most.
pub(super) const EDGE: i64 = 60_000_000;

/// Which of the stretches of an account and meter, in order of time, differ from the ledger.
pub(super) fn differing(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut differing = Vec::new();
    let mut moved = 0;
    for (place, stretch) in stretches.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| stretches.get(place));
        let next = stretches.get(place + 1);
        let follows = |one: &Stretch, other: &Stretch| other.start - one.end < EDGE;
        let rest = stretch.charged + moved - stretch.counted;
        moved = 0;
        let is_moved_on = rest > 0
            && rest <= stretch.last
            && next.is_some_and(|next| follows(stretch, next) && next.charged < next.counted);
        // Of an account's first requests some may have come before the first period that was counted.
        let is_moved_in =
            rest < 0 && -rest <= stretch.just_before && before.is_none_or(|before| !follows(before, stretch));
        if is_moved_on {
            moved = rest;
        } else if rest != 0 && !is_moved_in {
            differing.push(*stretch);
        }
    }
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn day(number: i64, counted: i64, charged: i64, just_before: i64, last: i64) -> Stretch {
        Stretch {
            start: number * DAY,
            end: (number + 1) * DAY,
            counted,
            charged,
            just_before,
            last,
        }
    }

    #[test]
    fn equal_numbers_do_not_differ() {
        assert_eq!(differing(&[day(0, 5, 5, 0, 0), day(1, 7, 7, 0, 3)]), []);
        assert_eq!(differing(&[]), []);
    }

    #[test]
    fn what_waited_across_the_edge_is_counted_on_the_other_side() {
        assert_eq!(differing(&[day(0, 4, 6, 0, 3), day(1, 9, 7, 3, 0)]), []);
        // Also through a period that is shorter than what waits.
        let moved = [day(0, 4, 6, 0, 3), day(1, 7, 6, 3, 2), day(2, 9, 8, 2, 0)];
        assert_eq!(differing(&moved), []);
        // Into the first period there is.
        assert_eq!(differing(&[day(5, 9, 7, 3, 0)]), []);
    }

    #[test]
    fn what_did_not_come_just_before_the_edge_does_not_move() {
        let (one, other) = (day(0, 4, 6, 0, 1), day(1, 9, 7, 1, 0));
        assert_eq!(differing(&[one, other]), [one, other]);
        let (one, other) = (day(0, 4, 6, 0, 3), day(3, 9, 7, 0, 0));
        assert_eq!(differing(&[one, other]), [one, other]);
    }

    #[test]
    fn a_counter_that_was_changed_differs_whoever_stands_beside_it() {
        for by in [-2, -1, 1, 2] {
            for place in 0..3 {
                let mut days = [day(0, 5, 5, 0, 9), day(1, 5, 5, 9, 9), day(2, 5, 5, 9, 9)];
                days[place].counted += by;
                if place == 0 && by > 0 {
                    days[0].just_before = 0;
                }
                assert_eq!(differing(&days), [days[place]], "{by} at {place}");
            }
        }
    }

    #[test]
    fn a_keys_counter_may_have_less_than_the_ledger_until_its_quota_held_everywhere_and_never_more() {
        let days = [
            day(0, 3, 9, 0, 2),
            day(1, 4, 5, 2, 1),
            day(2, 7, 6, 1, 0),
            day(3, 6, 6, 0, 0),
        ];
        // It came on the first day, so from the second on all is counted; one that came just before it waited.
        assert_eq!(differing_of_key(&days, Some(DAY / 2)), []);
        assert_eq!(differing_of_key(&days, Some(DAY - HEARD_AFTER)), []);
        let mut fewer = days;
        fewer[3].counted -= 1;
        assert_eq!(differing_of_key(&fewer, Some(DAY / 2)), [fewer[3]]);
        // On the day that it came, and where it is gone, that may be.
        for since in [None, Some(3 * DAY), Some(3 * DAY - HEARD_AFTER + 1)] {
            assert_eq!(differing_of_key(&fewer, since), []);
        }
        let mut more = days;
        more[0].counted = 10;
        for since in [None, Some(0), Some(DAY / 2)] {
            assert_eq!(differing_of_key(&more, since), [more[0]]);
        }
    }

    #[test]
    fn nothing_is_moved_beyond_the_last_period() {
        let last = day(0, 4, 6, 0, 9);
        assert_eq!(differing(&[last]), [last]);
    }
}
