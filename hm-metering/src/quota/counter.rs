//! A meter of an account, or of a key, over its periods.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::{Lease, Leases, Owner};
use crate::name::MeterName;
use crate::period::PeriodRule;
use crate::time::Timestamp;

/// A meter of an account, or of a key, over its periods, as long as its plan or the key's quotas, and its anchor, stay. After a change there is another, so that
/// what is allowed in a month is never counted in the day that was current then.
#[derive(Default)]
pub(crate) struct Counter {
    /// The window in use.
    current: ArcSwapOption<Lease>,
}

impl Counter {
    /// The window that `now` lies in, if it is the one in use.
    pub(crate) fn at(&self, now: Timestamp) -> Option<Arc<Lease>> {
        let current = self.current.load();
        let lease = current.as_ref()?;
        lease.window().period().contains(now).then(|| Arc::clone(lease))
    }

    /// The window that `now` lies in, made if need be, for the `owner`, whose account began at `anchor`. These are the same
    /// each time.
    ///
    /// The window may be there already, for periods of another rule that begin at the same moment: it then ends where it does
    /// by this `rule`, unless this is what `is_stale` says. What was used and leased is the same counter's in the store too.
    pub(crate) fn open(
        &self,
        leases: &Leases,
        (owner, meter): (Owner, &Arc<MeterName>),
        now: Timestamp,
        rule: PeriodRule,
        anchor: Timestamp,
        is_stale: bool,
    ) -> Arc<Lease> {
        if let Some(lease) = self.at(now) {
            return lease;
        }
        let period = rule.period_at(now, anchor);
        let window_start = rule.window_start(now, anchor);
        let lease = leases.open(owner, meter, period);
        if !is_stale {
            lease.window.set_end(period.end);
            lease
                .window
                .set_since((window_start < period.start).then_some(window_start));
        }
        self.current.store(Some(Arc::clone(&lease)));
        lease
    }

    /// Puts a window out of use. A request that is about to use it has a handle then.
    pub(crate) fn let_go(&self, lease: &Arc<Lease>) {
        self.current.compare_and_swap(lease, None);
    }

    /// Puts the window out of use, whichever it is.
    pub(crate) fn close(&self) {
        self.current.store(None);
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AccountId, KeyId};
    use crate::units::Units;

    const NOW: Timestamp = Timestamp::from_micros(0);
    const DAY: i64 = 86_400_000_000;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_micros(day * DAY)
    }

    fn open(leases: &Leases, counter: &Counter, now: Timestamp) -> Arc<Lease> {
        open_of(leases, counter, None, now)
    }

    fn open_of(leases: &Leases, counter: &Counter, key: Option<KeyId>, now: Timestamp) -> Arc<Lease> {
        let owner = Owner {
            account: AccountId::from_uuid(uuid::Uuid::nil()),
            key,
        };
        let meter = Arc::new(MeterName::REQUESTS);
        counter.open(leases, (owner, &meter), now, PeriodRule::Day, NOW, false)
    }

    #[test]
    fn what_is_held_or_has_units_is_not_forgotten() {
        let (leases, counter) = (Leases::default(), Counter::default());
        let held = open(&leases, &counter, NOW);
        assert!(!leases.forget(&held, day(1)), "an account has it");
        counter.let_go(&held);
        assert!(counter.at(NOW).is_none());
        let again = open(&leases, &Counter::default(), NOW);
        assert!(Arc::ptr_eq(&held, &again));
        assert!(!leases.forget(&held, day(1)), "a request has it");
        drop(again);
        assert!(!leases.forget(&held, day(1)), "it is looked after");
        assert_eq!(leases.looks.take_due(0).len(), 1);
        held.window.grant(Units::ONE, 1, 0);
        assert!(!leases.forget(&held, day(1)), "it has a unit to give back");
        held.window.drain(Units::ZERO);
        assert!(leases.forget(&held, day(1)));
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn what_was_taken_of_an_allowance_is_not_forgotten_before_the_period_is_over() {
        let leases = Leases::default();
        let held = open(&leases, &Counter::default(), NOW);
        leases.looks.take_due(0);
        assert!(held.window.take_allowance(Units::ONE, 1));
        assert!(!leases.forget(&held, NOW));
        assert!(leases.forget(&held, day(1)));
    }

    #[test]
    fn whoever_counts_a_meter_of_an_account_in_a_period_shares_a_window() {
        let leases = Leases::default();
        let (before, after) = (Counter::default(), Counter::default());
        let lease = open(&leases, &before, NOW);
        assert!(Arc::ptr_eq(&lease, &open(&leases, &after, NOW)));
        let next = open(&leases, &after, day(1));
        assert!(!Arc::ptr_eq(&lease, &next));
        after.let_go(&lease);
        assert!(after.at(day(1)).is_some(), "it is not the one in use");
        assert_eq!(leases.len(), 2);
    }

    #[test]
    fn a_window_ends_where_it_does_by_the_rule_that_holds() {
        let (leases, owner) = (
            Leases::default(),
            Owner::account(AccountId::from_uuid(uuid::Uuid::nil())),
        );
        let meter = Arc::new(MeterName::REQUESTS);
        let (daily, weekly) = (Counter::default(), Counter::default());
        let open = |counter: &Counter, rule, is_stale| {
            counter.open(&leases, (owner, &meter), NOW, rule, NOW, is_stale)
        };
        let week = PeriodRule::AnchoredFixed {
            seconds: std::num::NonZeroU32::new(7 * 86_400).unwrap(),
        };
        let lease = open(&daily, PeriodRule::Day, false);
        assert!(daily.at(day(1)).is_none());
        assert!(Arc::ptr_eq(&lease, &open(&weekly, week, false)));
        assert_eq!(lease.window().period().end, day(7));
        assert!(weekly.at(day(1)).is_some() && weekly.at(day(7)).is_none());
        // What a request under way counts for the plan that was before changes nothing.
        daily.close();
        assert!(Arc::ptr_eq(&lease, &open(&daily, PeriodRule::Day, true)));
        assert_eq!(lease.window().period().end, day(7));
        open(&Counter::default(), PeriodRule::Day, false);
        assert!(weekly.at(day(1)).is_none());
        assert_eq!(leases.len(), 1);
    }

    #[test]
    fn keys_of_an_account_have_windows_of_their_own() {
        let leases = Leases::default();
        let counters: [Counter; 3] = Default::default();
        let keys =
            [None, Some(1), Some(2)].map(|key| key.map(|key| KeyId::from_uuid(uuid::Uuid::from_u128(key))));
        let opened = [0, 1, 2].map(|place| open_of(&leases, &counters[place], keys[place], NOW));
        for (lease, key) in opened.iter().zip(keys) {
            assert_eq!((lease.window.key_id(), lease.window.key().key), (key, key));
            let found = leases.get(lease.window.owner(), lease.window.meter(), NOW);
            assert!(Arc::ptr_eq(lease, &found.unwrap()));
            assert!(Arc::ptr_eq(
                lease,
                &open_of(&leases, &Counter::default(), key, NOW)
            ));
        }
        assert_eq!(leases.len(), 3);
        // One that is forgotten takes no other along.
        leases.looks.take_due(0);
        counters[1].close();
        let [of_account, of_key, _] = opened;
        assert!(leases.forget(&of_key, day(1)));
        assert!(
            leases
                .get(of_key.window.owner(), of_key.window.meter(), NOW)
                .is_none()
        );
        assert!(
            leases
                .get(of_account.window.owner(), of_account.window.meter(), NOW)
                .is_some()
        );
    }

    #[test]
    fn a_lease_is_looked_after_once_from_its_beginning_and_when_it_is_time() {
        let (leases, counter) = (Leases::default(), Counter::default());
        open(&leases, &counter, NOW);
        open(&leases, &Counter::default(), NOW);
        let mut due = leases.looks.take_due(0);
        assert_eq!((due.len(), leases.looks.len()), (1, 0));
        leases.looks.add(due.remove(0), 5 * 1_000_000_000 + 1);
        assert!(leases.looks.take_due(4_999_999_999).is_empty());
        assert_eq!(leases.looks.take_due(5_000_000_000).len(), 1);
    }

    #[test]
    fn no_unit_is_lost_in_a_window_that_is_forgotten_meanwhile() {
        let (leases, counter) = (Leases::default(), Counter::default());
        let put_back = std::thread::scope(|scope| {
            let clearing = scope.spawn(|| {
                let mut found = 0;
                for _ in 0..20_000 {
                    for lease in leases.looks.take_due(0) {
                        found += lease.window.drain(Units::ZERO).get();
                        counter.let_go(&lease);
                        if !leases.forget(&lease, NOW) {
                            leases.looks.add(lease, 0);
                        }
                    }
                }
                found
            });
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20_000 {
                            let lease = open(&leases, &counter, NOW);
                            lease.window.note_taken(Units::ONE);
                            lease.window.put_back(Units::ONE);
                        }
                        20_000
                    })
                })
                .collect();
            let put_back: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            put_back - clearing.join().unwrap()
        });
        let left: u64 = leases
            .all()
            .iter()
            .map(|lease| lease.window.remaining().get())
            .sum();
        assert_eq!(left, put_back);
    }
}
