//! An account's meter over its periods.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::{Lease, QuotaKey};
use crate::id::AccountId;
use crate::name::MeterName;
use crate::period::Period;
use crate::time::Timestamp;

/// An account's meter over the periods of one rule. A plan with another rule has another counter, so that what it allows
/// in a month is never counted in the day that was current when the plan changed.
pub(crate) struct Counter {
    current: ArcSwapOption<Lease>,
    /// The current window and earlier ones that still have units to give back.
    windows: Mutex<Vec<Arc<Lease>>>,
}

impl Counter {
    pub(super) fn new() -> Self {
        Self {
            current: ArcSwapOption::empty(),
            windows: Mutex::default(),
        }
    }

    /// The window that `now` lies in, if it is the one in use.
    pub(crate) fn at(&self, now: Timestamp) -> Option<Arc<Lease>> {
        let lease = self.current.load_full()?;
        lease.window.key().period.contains(now).then_some(lease)
    }

    /// The window for `period`, made if need be; where the limit holds for a window that moves with time, it is the
    /// sub-period and units count from `since` on.
    pub(crate) fn open(
        &self,
        account: AccountId,
        meter: &MeterName,
        period: Period,
        since: Option<Timestamp>,
    ) -> Arc<Lease> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = windows
            .iter()
            .find(|lease| lease.window.key().period.start == period.start);
        let lease = found.map_or_else(
            || {
                let meter = meter.clone();
                let key = QuotaKey {
                    account,
                    meter,
                    period,
                };
                Arc::new(Lease::new(key, since))
            },
            Arc::clone,
        );
        if found.is_none() {
            windows.push(Arc::clone(&lease));
        }
        self.current.store(Some(Arc::clone(&lease)));
        lease
    }

    pub(super) fn leases(&self) -> Vec<Arc<Lease>> {
        self.windows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets windows that `is_done` with, that have nothing to give back, and that nobody holds.
    pub(super) fn sweep(&self, is_done: impl Fn(&Lease) -> bool) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain_mut(|lease| {
            if !(lease.is_empty() && is_done(lease)) {
                return true;
            }
            let is_current = self
                .current
                .load()
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, lease));
            if is_current {
                // The list's handle and the counter's. Whoever has another is not done with it.
                if Arc::strong_count(lease) > 2 {
                    return true;
                }
                // From here on nobody can get hold of it but through the list, which is locked. A request that got it
                // before has its handle counted: the swap sees to that, as it must, or it might free what is in use.
                self.current.store(None);
            }
            // Nobody else has it now, or will. What the last holder did, such as putting units back, is seen from here.
            let is_forgotten = Arc::get_mut(lease).is_some_and(|lease| lease.is_empty());
            !is_forgotten
        });
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

    fn period() -> Period {
        Period {
            start: Timestamp::from_micros(0),
            end: Timestamp::from_micros(10),
        }
    }

    fn open(counter: &Counter) -> Arc<Lease> {
        let account = AccountId::from_uuid(uuid::Uuid::nil());
        counter.open(account, &MeterName::REQUESTS, period(), None)
    }

    #[test]
    fn what_is_held_has_units_or_is_not_done_is_not_forgotten() {
        let counter = Counter::new();
        let held = open(&counter);
        counter.sweep(|_| true);
        assert!(Arc::ptr_eq(&held, &open(&counter)), "a request holds it");
        held.window.grant(Units::ONE, 1, 0);
        drop(held);
        counter.sweep(|_| true);
        assert_eq!(counter.leases().len(), 1, "it has a unit to give back");
        open(&counter).window.drain(Units::ZERO);
        counter.sweep(|_| false);
        assert_eq!(counter.leases().len(), 1, "it is not done");
        counter.sweep(|_| true);
        assert!(counter.leases().is_empty() && counter.at(period().start).is_none());
    }

    #[test]
    fn no_unit_is_lost_in_a_window_that_is_forgotten_meanwhile() {
        let counter = Counter::new();
        let put_back = std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| {
                let mut found = 0;
                for _ in 0..20_000 {
                    counter.sweep(|_| true);
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
                            let lease = counter.at(period().start).unwrap_or_else(|| open(&counter));
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
