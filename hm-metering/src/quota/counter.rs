//! An account's meter over its periods.

use std::fmt;
use std::sync::{Arc, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use super::{Lease, Looks, QuotaKey};
use crate::id::AccountId;
use crate::name::MeterName;
use crate::period::PeriodRule;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Timestamp;

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CounterId {
    pub(crate) account: AccountId,
    pub(crate) meter: MeterName,
}

/// An account's meter over its periods.
pub(crate) struct Counter {
    id: CounterId,
    /// Where it puts itself as soon as it has a window. The lock of `windows` is held meanwhile.
    looks: Weak<Looks>,
    current: ArcSwapOption<Current>,
    /// The current window and earlier ones that still have units to give back. There is one for one period start, as in
    /// the store.
    windows: Mutex<Leases>,
}

/// There is one, as a rule.
type Leases = SmallVec<[Arc<Lease>; 1]>;

/// The window in use, and what it was opened for. After a change of plan or anchor another window is in use, so that what
/// is allowed in a month is never counted in the day that was current then.
struct Current {
    rule: PeriodRule,
    anchor: Timestamp,
    lease: Arc<Lease>,
}

impl Counter {
    pub(super) fn new(id: CounterId, looks: Weak<Looks>) -> Self {
        Self {
            id,
            looks,
            current: ArcSwapOption::empty(),
            windows: Mutex::default(),
        }
    }

    pub(super) const fn id(&self) -> &CounterId {
        &self.id
    }

    /// The window that `now` lies in, if it is the one in use.
    pub(crate) fn at(&self, now: Timestamp, rule: PeriodRule, anchor: Timestamp) -> Option<Arc<Lease>> {
        let current = self.current.load();
        let current = current.as_ref()?;
        let is_meant = current.lease.window.key().period.contains(now)
            && current.rule == rule
            && current.anchor == anchor;
        is_meant.then(|| Arc::clone(&current.lease))
    }

    /// The window that `now` lies in, made if need be, for an account that began at `anchor`.
    pub(crate) fn open(self: &Arc<Self>, now: Timestamp, rule: PeriodRule, anchor: Timestamp) -> Arc<Lease> {
        let period = rule.period_at(now, anchor);
        let window_start = rule.window_start(now, anchor);
        let mut windows = self.windows();
        let found = windows
            .iter()
            .find(|lease| lease.window.key().period.start == period.start);
        let lease = found.map_or_else(
            || {
                let CounterId { account, meter } = self.id.clone();
                Arc::new(Lease::new(QuotaKey {
                    account,
                    meter,
                    period,
                }))
            },
            Arc::clone,
        );
        if found.is_none() {
            if windows.is_empty()
                && let Some(looks) = self.looks.upgrade()
            {
                looks.add(Arc::clone(self), 0);
            }
            windows.push(Arc::clone(&lease));
        }
        lease
            .window
            .set_since((window_start < period.start).then_some(window_start));
        let current = Current {
            rule,
            anchor,
            lease: Arc::clone(&lease),
        };
        self.current.store(Some(Arc::new(current)));
        lease
    }

    fn windows(&self) -> MutexGuard<'_, Leases> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn leases(&self) -> Leases {
        self.windows().clone()
    }

    /// The window of the period that starts then, if there is one.
    pub(super) fn lease_from(&self, start: Timestamp) -> Option<Arc<Lease>> {
        let windows = self.windows();
        let found = windows
            .iter()
            .find(|lease| lease.window.key().period.start == start);
        found.map(Arc::clone)
    }

    /// Forgets windows that `is_done` with, that have nothing to give back and nothing to record, and that nobody holds.
    /// Answers whether there are others. If there are none, the counter puts itself among the [`Looks`] with the next one.
    #[must_use]
    pub(super) fn sweep(&self, is_done: impl Fn(&Lease) -> bool) -> bool {
        let mut windows = self.windows();
        windows.retain_mut(|lease| {
            if !(lease.is_empty() && is_done(lease)) {
                return true;
            }
            let is_current = self
                .current
                .load()
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(&current.lease, lease));
            if is_current {
                // The list's handle and the one in use. Whoever has another is not done with it.
                if Arc::strong_count(lease) > 2 {
                    return true;
                }
                // From here on nobody can get hold of it but through the list, which is locked. A request that is about to
                // still keeps `Current` and its handle alive: the swap sees to that, as it must, or it might free what
                // is in use.
                self.current.store(None);
            }
            // Nobody else has it now, or will. What the last holder did, such as putting units back, is seen from here.
            let is_forgotten = Arc::get_mut(lease).is_some_and(|lease| lease.is_empty());
            !is_forgotten
        });
        !windows.is_empty()
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
    use crate::units::Units;

    const NOW: Timestamp = Timestamp::from_micros(0);

    fn at(counter: &Counter) -> Option<Arc<Lease>> {
        counter.at(NOW, PeriodRule::Day, NOW)
    }

    fn open(counter: &Arc<Counter>) -> Arc<Lease> {
        counter.open(NOW, PeriodRule::Day, NOW)
    }

    fn counter(looks: &Arc<Looks>) -> Arc<Counter> {
        let id = CounterId {
            account: AccountId::from_uuid(uuid::Uuid::nil()),
            meter: MeterName::REQUESTS,
        };
        Arc::new(Counter::new(id, Arc::downgrade(looks)))
    }

    #[test]
    fn what_is_held_has_units_or_is_not_done_is_not_forgotten() {
        let counter = counter(&Arc::default());
        let held = open(&counter);
        assert!(counter.sweep(|_| true));
        assert!(Arc::ptr_eq(&held, &open(&counter)), "a request holds it");
        held.window.grant(Units::ONE, 1, 0);
        drop(held);
        assert!(counter.sweep(|_| true), "it has a unit to give back");
        open(&counter).window.drain(Units::ZERO);
        assert!(counter.sweep(|_| false), "it is not done");
        assert!(!counter.sweep(|_| true));
        assert!(counter.leases().is_empty() && at(&counter).is_none());
    }

    #[test]
    fn a_counter_is_looked_after_as_long_as_it_has_windows() {
        let looks = Arc::default();
        let counter = counter(&looks);
        assert_eq!(looks.len(), 0, "nobody used it");
        open(&counter);
        open(&counter);
        assert_eq!(looks.len(), 1);
        let due = looks.take_due(0);
        assert!(due.len() == 1 && due[0].sweep(|_| false));
        open(&counter);
        assert_eq!(looks.len(), 0, "whoever took it out adds it again");
        looks.add(Arc::clone(&counter), 5 * 1_000_000_000 + 1);
        assert!(looks.take_due(4_999_999_999).is_empty());
        assert_eq!(looks.take_due(5_000_000_000).len(), 1);
        assert!(!counter.sweep(|_| true));
        open(&counter);
        assert_eq!(looks.len(), 1, "it is in use again");
    }

    #[test]
    fn no_unit_is_lost_in_a_window_that_is_forgotten_meanwhile() {
        let counter = counter(&Arc::default());
        let put_back = std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| {
                let mut found = 0;
                for _ in 0..20_000 {
                    let _ = counter.sweep(|_| true);
                    for lease in counter.leases() {
                        found += lease.window.drain(Units::ZERO).get();
                    }
                }
                found
            });
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20_000 {
                            let lease = at(&counter).unwrap_or_else(|| open(&counter));
                            lease.window.note_taken(Units::ONE);
                            lease.window.put_back(Units::ONE);
                        }
                        20_000
                    })
                })
                .collect();
            let put_back: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
            put_back - sweeping.join().unwrap()
        });
        let left: u64 = counter
            .leases()
            .iter()
            .map(|lease| lease.window.remaining().get())
            .sum();
        assert_eq!(left, put_back);
    }
}
