//! An account's meter over its periods.

use std::fmt;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::{Lease, QuotaKey};
use crate::id::AccountId;
use crate::name::MeterName;
use crate::period::Period;
use crate::time::Timestamp;

/// An account's meter over its periods.
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
        // Pairs with `retire`: either it sees this handle, or this sees that the lease is retired.
        fence(Ordering::SeqCst);
        let in_use = !lease.retired.load(Ordering::Relaxed) && lease.window.key().period.contains(now);
        in_use.then_some(lease)
    }

    /// The window for `period`, made if need be.
    pub(crate) fn open(&self, account: AccountId, meter: &MeterName, period: Period) -> Arc<Lease> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let found = windows
            .iter()
            .find(|lease| lease.window.key().period.start == period.start);
        let lease = found.map_or_else(
            || {
                Arc::new(Lease::new(QuotaKey {
                    account,
                    meter: meter.clone(),
                    period,
                }))
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

    /// Forgets windows that `is_done` with, that have nothing to give back, whose charges are recorded, and that no request
    /// holds.
    pub(super) fn sweep(&self, is_done: impl Fn(&Lease) -> bool) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|lease| {
            let empty = lease.window.is_settled() && lease.with_state(|state| state.pending.is_none());
            !(empty && is_done(lease) && self.retire(lease))
        });
    }

    /// Takes a window out of use, unless somebody holds it.
    fn retire(&self, lease: &Arc<Lease>) -> bool {
        let current = self
            .current
            .load_full()
            .filter(|current| Arc::ptr_eq(current, lease));
        lease.retired.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        // The list's own handle, and where it is current two more: the counter's and the one just loaded.
        let own = if current.is_some() { 3 } else { 1 };
        if Arc::strong_count(lease) > own {
            lease.retired.store(false, Ordering::Relaxed);
            return false;
        }
        if current.is_some() {
            self.current.store(None);
        }
        true
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}
