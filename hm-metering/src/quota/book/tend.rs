//! Looking after leases: what is idle goes back, balances stay fresh, what nobody uses is forgotten.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::LeaseBook;
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::quota::{Lease, QuotaKey, keep, nanos};
use crate::time::Timestamp;
use crate::units::Units;

/// A lease is given back when nothing was taken from it for this long.
const IDLE: Duration = Duration::from_secs(5);
/// A balance is kept fresh for this long after the last request.
const FRESH: Duration = Duration::from_secs(60);
/// A lease in use is looked after this often.
const OFTEN: Duration = Duration::from_secs(1);
/// One that has nothing to give back is looked after this seldom at the most.
const SELDOM: Duration = Duration::from_secs(5);
/// How many balances are asked for at once.
const BALANCES: usize = 500;

impl LeaseBook {
    /// Looks after all leases at each `pace`, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, pace: Duration) {
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tend().await;
        }
    }

    /// Looks after the leases whose time it is: gives back what is idle or over, learns balances, and forgets what is not
    /// used. Those in use are looked after each time.
    pub(crate) async fn tend(self: &Arc<Self>) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let mut fresh = Vec::new();
        for lease in self.leases.looks.take_due(nanos(now)) {
            if self.tend_one(&lease, now, wall) {
                fresh.push(Arc::clone(&lease));
            }
            let is_done = is_over(&lease, wall) || lease.idle(now) >= FRESH;
            if !(is_done && lease.is_empty() && self.forget(&lease, wall)) {
                let next = next_look(&lease, now, wall);
                self.leases.looks.add(lease, nanos(next));
            }
        }
        for some in fresh.chunks(BALANCES) {
            self.learn_balances(some).await;
        }
    }

    /// Forgets a lease that nobody uses. Answers whether it could.
    fn forget(&self, lease: &Arc<Lease>, wall: Timestamp) -> bool {
        if let Some(users) = self.users.get().and_then(Weak::upgrade) {
            users.let_go(lease);
        }
        self.leases.forget(lease, wall)
    }

    /// Answers whether the balance should be learnt anew.
    fn tend_one(self: &Arc<Self>, lease: &Arc<Lease>, now: Duration, wall: Timestamp) -> bool {
        let taken = lease.window.taken();
        let (recent, pending, leased_for) = lease.with_state(|state| {
            state.note_taken(taken, now);
            let leased_for = state.granted_at.map_or(Duration::MAX, |at| at.age(now));
            (u64::from(state.recent), state.pending().is_some(), leased_for)
        });
        let (idle, over) = (lease.idle(now), is_over(lease, wall));
        let keep = if over || idle >= IDLE {
            Some(Units::ZERO)
        } else {
            keep(lease.window.remaining(), recent).filter(|_| leased_for >= IDLE)
        };
        match keep {
            Some(keep) if pending || lease.window.remaining() > keep => self.start_release(lease, keep),
            _ if !lease.window.free_withheld().is_zero() => self.start_release(lease, Units::MAX),
            _ => {}
        }
        if !over && idle >= FRESH {
            lease.window.forget_balance();
        }
        !over && idle < FRESH && lease.window.is_known()
    }

    /// Answers whether the store told.
    pub(super) async fn learn_balances(&self, leases: &[Arc<Lease>]) -> bool {
        let told = timeout(self.store_timeout, self.read_balances(leases)).await;
        let told = told.unwrap_or_else(|elapsed| {
            Err(StoreError::new(StoreErrorKind::Timeout, "wait for a store").with_source(elapsed))
        });
        if let Err(error) = &told {
            tracing::warn!(error = error as &dyn std::error::Error, "balances can't be read");
            self.measures.store_failed("balances");
        }
        told.is_ok()
    }

    async fn read_balances(&self, leases: &[Arc<Lease>]) -> StoreResult<()> {
        let (alone, moving): (Vec<_>, Vec<_>) =
            leases.iter().partition(|lease| lease.window.since().is_none());
        if !alone.is_empty() {
            let keys: Vec<QuotaKey> = alone.iter().map(|lease| lease.window.key()).collect();
            for (lease, balance) in alone.iter().zip(self.store.balances(&keys).await?) {
                lease.window.learn(balance);
            }
        }
        if !moving.is_empty() {
            let windows: Vec<_> = moving.iter().filter_map(|lease| lease.quota_window()).collect();
            for (lease, state) in moving.iter().zip(self.store.windows(&windows).await?) {
                lease.window.learn(state.balance);
                lease.window.learn_oldest(state.oldest);
            }
        }
        Ok(())
    }
}

fn is_over(lease: &Lease, wall: Timestamp) -> bool {
    lease.window.period().end <= wall
}

/// When to look again: at once if something is to be given back or repeated, soon where units are leased, and else the more
/// seldom, the longer it is idle, up to [`SELDOM`].
fn next_look(lease: &Lease, now: Duration, wall: Timestamp) -> Duration {
    let idle = lease.idle(now);
    if !lease.has_to_give_back() {
        now + (idle / 2).clamp(OFTEN, SELDOM)
    } else if idle >= IDLE || is_over(lease, wall) || lease.with_state(|state| state.pending().is_some()) {
        now
    } else {
        now + OFTEN
    }
}
