//! One counter as this process sees it: what it has leased, what it took, what others used.
//!
//! Everything on the way of a request is an atomic operation on this structure. `remaining` is the only number that
//! decides: units in it were debited from the store before, so taking them needs nobody's leave.

mod rare;
mod span;
mod unanswered;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use once_cell::race::OnceBox;

use super::{Balance, Owner, QuotaKey};
use crate::id::AccountId;
use crate::name::MeterName;
use crate::period::Period;
use crate::sync::{AtomicBool, AtomicU64};
use crate::time::Timestamp;
use crate::units::Units;
use rare::Rare;
pub(crate) use unanswered::Exhaustion;

/// A counter's local state. Times are nanoseconds of the monotonic clock.
///
/// There is one for each counter in use, so it is small; and what most requests touch comes first, so that they touch
/// little memory.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Window {
    /// Leased and not taken.
    remaining: AtomicU64,
    /// Until when leased units may be taken.
    until: AtomicU64,
    /// Taken by this process's requests in this period, less what was given back.
    taken: AtomicU64,
    /// At or below this many remaining units it is time for more.
    low_water: AtomicU32,
    /// Whether a balance was learnt lately enough to answer from memory.
    known: AtomicBool,
    /// Whether an operation of this counter is under way: one runs at a time.
    pub(super) busy: AtomicBool,
    /// When its period begins, which it is known by.
    start: Timestamp,
    /// When its period ends, in microseconds. It changes with the plan only.
    end: AtomicI64,
    /// Used as far as known, without what this process settled.
    others: AtomicU64,
    /// The part of `taken` that finished requests were charged.
    charged: AtomicU64,
    /// The greatest use that a caller was told of.
    shown: AtomicU64,
    rare: OnceBox<Rare>,
    meter: Arc<MeterName>,
    /// What this process has sent off to be settled.
    submitted: AtomicU64,
    /// The part of `charged` that is settled, or lost.
    recorded: AtomicU64,
    account: AccountId,
}

/// What became of an attempt to take units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Taken; enough is left.
    Taken,
    /// Taken; it is time to lease more.
    TakenLow,
    /// Not enough is leased here.
    Short,
}

impl Window {
    pub(crate) fn new(owner: Owner, meter: Arc<MeterName>, period: Period) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            remaining: zero(),
            until: zero(),
            taken: zero(),
            low_water: AtomicU32::new(0),
            known: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            start: period.start,
            end: AtomicI64::new(period.end.as_micros()),
            others: zero(),
            charged: zero(),
            shown: zero(),
            rare: Rare::of(owner.key),
            meter,
            submitted: zero(),
            recorded: zero(),
            account: owner.account,
        }
    }

    pub(crate) const fn account(&self) -> AccountId {
        self.account
    }

    pub(crate) fn meter(&self) -> &MeterName {
        &self.meter
    }

    /// The counter's name in the store.
    pub(crate) fn key(&self) -> QuotaKey {
        QuotaKey {
            account: self.account,
            key: self.key_id(),
            meter: MeterName::clone(&self.meter),
            period: self.period(),
        }
    }

    fn rare(&self) -> Option<&Rare> {
        self.rare.get()
    }

    fn make_rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// Whether `units` could be taken out of the lease. Takes nothing.
    pub(crate) fn has(&self, units: Units, now: u64) -> bool {
        now < self.until.load(Ordering::Acquire) && self.remaining.load(Ordering::Acquire) >= units.get()
    }

    /// Takes `units` out of the lease.
    pub(crate) fn take(&self, units: Units, now: u64) -> Take {
        if now >= self.until.load(Ordering::Acquire) && !units.is_zero() {
            return Take::Short;
        }
        let mut has = self.remaining.load(Ordering::Acquire);
        loop {
            let Some(left) = has.checked_sub(units.get()) else {
                return Take::Short;
            };
            match self
                .remaining
                .compare_exchange_weak(has, left, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    self.taken.fetch_add(units.get(), Ordering::AcqRel);
                    let low = left <= self.low_water();
                    return if low { Take::TakenLow } else { Take::Taken };
                }
                Err(now_has) => has = now_has,
            }
        }
    }

    /// Takes as many as there are of `units` out of the lease. Answers how many that were, and whether it is time to lease
    /// more.
    pub(crate) fn take_some(&self, units: Units, now: u64) -> (Units, bool) {
        if now >= self.until.load(Ordering::Acquire) {
            return (Units::ZERO, true);
        }
        let taken = self
            .remaining
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |has| {
                (has > 0).then(|| has.saturating_sub(units.get()))
            });
        let had = Units::new(taken.unwrap_or(0));
        let some = had.min(units);
        self.taken.fetch_add(some.get(), Ordering::AcqRel);
        let is_low = had.minus(some).get() <= self.low_water();
        (some, is_low)
    }

    /// Notes units that need no lease, or were spent beyond it.
    pub(crate) fn note_taken(&self, units: Units) {
        self.taken.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Puts units back into the lease they were taken from.
    pub(crate) fn put_back(&self, units: Units) {
        self.unnote_taken(units);
        self.remaining.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// The reverse of [`Window::note_taken`].
    pub(crate) fn unnote_taken(&self, units: Units) {
        self.taken.fetch_sub(units.get(), Ordering::AcqRel);
    }

    /// Takes what is left beyond `keep`, to give it back to the store.
    pub(crate) fn drain(&self, keep: Units) -> Units {
        let taken = self
            .remaining
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |has| {
                (has > keep.get()).then_some(keep.get())
            });
        Units::new(taken.map_or(0, |had| had - keep.get()))
    }

    /// Adds leased units, which may be taken until `until`. Answers how many of them are kept back for the debt.
    pub(crate) fn grant(&self, units: Units, until: u64, low_water: u64) -> Units {
        let kept = self.rare().map_or(0, |rare| {
            let uncovered = rare
                .debt
                .load(Ordering::Acquire)
                .saturating_sub(rare.withheld.load(Ordering::Acquire));
            let kept = units.get().min(uncovered);
            rare.withheld.fetch_add(kept, Ordering::AcqRel);
            kept
        });
        self.set_low_water(low_water);
        self.until.fetch_max(until, Ordering::AcqRel);
        self.remaining.fetch_add(units.get() - kept, Ordering::AcqRel);
        Units::new(kept)
    }

    /// Takes what was kept back for debts that are settled, to give it back to the store. Only one may ask at a time.
    pub(crate) fn drain_withheld(&self) -> Units {
        let free = self.free_withheld();
        if !free.is_zero() {
            self.make_rare().withheld.fetch_sub(free.get(), Ordering::AcqRel);
        }
        free
    }

    /// What was kept back for debts that are settled.
    pub(crate) fn free_withheld(&self) -> Units {
        self.rare().map_or(Units::ZERO, |rare| {
            let debt = rare.debt.load(Ordering::Acquire);
            Units::new(rare.withheld.load(Ordering::Acquire).saturating_sub(debt))
        })
    }

    /// At or below this many remaining units it is time for more.
    pub(crate) fn set_low_water(&self, units: u64) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.low_water.store(units, Ordering::Relaxed);
    }

    fn low_water(&self) -> u64 {
        self.low_water.load(Ordering::Relaxed).into()
    }

    /// Units that can be taken, ignoring the time.
    pub(crate) fn remaining(&self) -> Units {
        Units::new(self.remaining.load(Ordering::Acquire))
    }

    /// Notes units that are about to be settled. Must come before they are sent, see [`Window::learn`].
    pub(crate) fn note_submitted(&self, units: Units) {
        self.submitted.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// The reverse of [`Window::note_submitted`], for units that the store has not settled and never will under that batch.
    pub(crate) fn unnote_submitted(&self, units: Units) {
        self.submitted.fetch_sub(units.get(), Ordering::AcqRel);
    }

    /// Notes that a part of what is charged is beyond the lease and the store does not know it.
    pub(crate) fn note_debt(&self, units: Units) {
        self.make_rare().debt.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Notes charged units that are settled, or never will be. `is_debt` if they were noted as such.
    pub(crate) fn note_recorded(&self, units: Units, is_debt: bool) {
        if is_debt {
            self.make_rare().debt.fetch_sub(units.get(), Ordering::AcqRel);
        }
        self.recorded.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Whether there are leased units that were not spent, be they kept back or not.
    pub(super) fn has_leased(&self) -> bool {
        !self.leased().is_zero()
    }

    /// How many leased units were not spent, those that are kept back included.
    pub(super) fn leased(&self) -> Units {
        let withheld = self
            .rare()
            .map_or(0, |rare| rare.withheld.load(Ordering::Acquire));
        self.remaining().plus(Units::new(withheld))
    }

    /// Whether nothing here has to reach the store any more: no leased units, and nothing charged that is on its way.
    pub(crate) fn is_settled(&self) -> bool {
        !self.has_leased() && self.charged.load(Ordering::Acquire) <= self.recorded.load(Ordering::Acquire)
    }

    /// Learns from the store's balance how much others used.
    ///
    /// What this process settled is part of `balance.used`; `submitted` is at least that much, since it is raised
    /// before the batch is sent and read here after the balance came. So the result is never too high, and as others'
    /// use only grows, the greatest result seen is the best.
    pub(crate) fn learn(&self, balance: Balance) {
        let ours = self.submitted.load(Ordering::Acquire);
        self.others
            .fetch_max(balance.used.get().saturating_sub(ours), Ordering::AcqRel);
        self.known.store(true, Ordering::Release);
        let Some(rare) = self.rare() else { return };
        // What others gave back can be had.
        let left = Units::new(rare.exhausted_limit.load(Ordering::Acquire))
            .minus(balance.used)
            .minus(balance.leased);
        if !left.is_zero() {
            self.clear_exhausted();
        }
    }

    /// Whether [`Window::used`] is fresh: a balance was learnt, and is kept fresh since.
    pub(crate) fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Says that balances are no longer learnt; the next request has to ask.
    pub(crate) fn forget_balance(&self) {
        self.known.store(false, Ordering::Release);
    }

    /// Notes what a finished request was charged, out of what was taken.
    pub(crate) fn note_charged(&self, units: Units) {
        self.charged.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Units that are used or taken in the period as far as this process knows, its own requests in flight included.
    pub(crate) fn taken_by_all(&self) -> Units {
        let others = self.others.load(Ordering::Acquire);
        Units::new(others.saturating_add(self.taken.load(Ordering::Acquire)))
    }

    /// Units that finished requests were charged in the period, as far as this process knows. It never sinks, since what
    /// requests in flight may give back is not in it.
    pub(crate) fn used(&self) -> Units {
        let others = self.others.load(Ordering::Acquire);
        Units::new(others.saturating_add(self.charged.load(Ordering::Acquire)))
    }

    /// What a caller is told of a use of `used`: no less than any caller was told before, as what was shown of a request in
    /// flight may not have been charged in the end.
    pub(crate) fn show(&self, used: Units) -> Units {
        let before = self.shown.load(Ordering::Relaxed);
        if used.get() <= before {
            return Units::new(before);
        }
        Units::new(self.shown.fetch_max(used.get(), Ordering::Relaxed)).max(used)
    }

    /// How much this process took since the period began.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
}

/// Nanoseconds of the monotonic clock; they last for 584 years.
pub(crate) const fn nanos(at: Duration) -> u64 {
    let whole = at.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(at.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests;
