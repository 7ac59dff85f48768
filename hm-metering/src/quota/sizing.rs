//! How many units to lease at a time: pure arithmetic.

use std::time::Duration;

use crate::units::Units;

/// The smallest lease that is asked for while plenty is left.
pub(crate) const START: u64 = 8;
/// The largest.
const MOST: u64 = 1_000_000;
/// A lease should last about this long: shorter costs round trips, longer strands units when a process dies.
const TARGET: Duration = Duration::from_secs(1);

/// The size for the next lease, after one of `last` units was used up in `lasted`; none before the first.
pub(crate) fn next_size(last: Option<(u64, Duration)>) -> u64 {
    match last {
        None => START,
        Some((size, lasted)) if lasted < TARGET => size.saturating_mul(2).clamp(START, MOST),
        Some((size, lasted)) if lasted > TARGET * 4 => (size / 2).clamp(START, MOST),
        Some((size, _)) => size.clamp(START, MOST),
    }
}

/// How much to ask for: the size, but near the limit only a part of what is left, so that several processes share the end
/// and none strands much; never less than what is waited for, which is spent at once, nor than `need`, what a single
/// request takes. `left` is what the store last said is neither used nor leased; none when it has not been asked.
pub(crate) fn want(size: u64, need: Units, waited_for: Units, left: Option<Units>) -> Units {
    let bound = left.map_or(u64::MAX, |left| left.get() / 4);
    Units::new(size.min(bound))
        .max(waited_for)
        .max(need)
        .max(Units::ONE)
}

/// How many units to keep of a lease when others could use the rest, if `recent` were lately taken between two looks.
/// None when it is not too large.
pub(crate) fn keep(remaining: Units, recent: u64) -> Option<Units> {
    let some = |looks: u64| START.saturating_add(recent.saturating_mul(looks));
    (remaining.get() > some(8)).then(|| Units::new(some(4)))
}

/// At how many remaining units to ask for more.
pub(crate) const fn low_water(size: u64) -> u64 {
    size / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_account_leases_more_each_time_and_an_idle_one_less() {
        assert_eq!(next_size(None), START);
        assert_eq!(next_size(Some((100, Duration::from_millis(10)))), 200);
        assert_eq!(next_size(Some((100, Duration::from_secs(2)))), 100);
        assert_eq!(next_size(Some((100, Duration::from_secs(60)))), 50);
        assert_eq!(next_size(Some((u64::MAX, Duration::ZERO))), MOST);
        assert_eq!(next_size(Some((1, Duration::MAX))), START);
    }

    #[test]
    fn leases_shrink_to_one_near_the_limit() {
        assert_eq!(
            want(1_000, Units::ZERO, Units::ZERO, Some(Units::new(400))),
            Units::new(100)
        );
        assert_eq!(
            want(1_000, Units::ONE, Units::ONE, Some(Units::new(3))),
            Units::ONE
        );
        assert_eq!(want(1_000, Units::ONE, Units::ONE, Some(Units::ZERO)), Units::ONE);
    }

    #[test]
    fn a_request_can_always_ask_for_what_it_takes() {
        assert_eq!(
            want(8, Units::new(50), Units::new(50), Some(Units::new(60))),
            Units::new(50)
        );
    }

    #[test]
    fn a_lease_that_is_much_larger_than_its_use_is_cut() {
        assert_eq!(keep(Units::new(2_000), 1), Some(Units::new(12)));
        assert_eq!(keep(Units::new(2_000), 1_000), None);
        assert_eq!(keep(Units::new(8), 0), None);
    }

    #[test]
    fn those_who_wait_are_counted_in() {
        for left in [None, Some(Units::new(64))] {
            assert_eq!(want(8, Units::ONE, Units::new(64), left), Units::new(64));
        }
    }
}
