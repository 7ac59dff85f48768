//! One counter as this process sees it: what it has leased, what it took, what others used.
//!
//! Everything on the way of a request is an atomic operation on this structure. `remaining` is the only number that
//! decides: units in it were debited from the store before, so taking them needs nobody's leave.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Balance, QuotaKey};
use crate::period::Period;
use crate::sync::{AtomicBool, AtomicU64};
use crate::time::Timestamp;
use crate::units::Units;

/// For how long, in nanoseconds, a "nothing left" that is out of date is still the likely answer.
const STALE_FOR: u64 = 10_000_000_000;
/// For how long, in nanoseconds, a store that failed is expected to fail again.
const FAILS_FOR: u64 = 10_000_000_000;
/// Stands for no moment; all moments are later.
const UNKNOWN: i64 = i64::MIN;

/// A counter's local state. Times are nanoseconds of the monotonic clock.
#[derive(Debug)]
pub(crate) struct Window {
    key: QuotaKey,
    /// Where the limit holds for a window that moves with time: since when units count, in microseconds; [`UNKNOWN`] for a
    /// period that stands alone.
    since: AtomicI64,
    /// When the oldest units that count were taken, in microseconds; [`UNKNOWN`] unless the store said so.
    oldest: AtomicI64,
    /// Leased and not taken.
    remaining: AtomicU64,
    /// Taken by this process's requests in this period, less what was given back.
    taken: AtomicU64,
    /// The part of it that finished requests were charged.
    charged: AtomicU64,
    /// Used as far as known, without what this process settled.
    others: AtomicU64,
    /// What this process has sent off to be settled.
    submitted: AtomicU64,
    /// The part of `charged` that is settled, or lost.
    recorded: AtomicU64,
    /// Charged beyond the lease, and not settled yet: the store does not know that they are used.
    debt: AtomicU64,
    /// Leased and kept back, so that the debt and what is taken do not go over the limit together.
    withheld: AtomicU64,
    /// Until when leased units may be taken.
    until: AtomicU64,
    /// At or below this many remaining units it is time for more.
    low_water: AtomicU64,
    /// Until when the store need not be asked again, as it had nothing left for [`Window::exhausted_limit`].
    exhausted_until: AtomicU64,
    exhausted_limit: AtomicU64,
    exhausted_need: AtomicU64,
    /// Until when nothing is leased in the background, as the store failed; zero when it answered since.
    rests_until: AtomicU64,
    /// Taken out of the allowance for times when the store can't answer.
    allowance_taken: AtomicU64,
    /// The greatest use that a caller was told of.
    shown: AtomicU64,
    /// Whether a balance was learnt lately enough to answer from memory.
    known: AtomicBool,
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
    pub(crate) fn new(key: QuotaKey) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            key,
            since: AtomicI64::new(UNKNOWN),
            oldest: AtomicI64::new(UNKNOWN),
            remaining: zero(),
            taken: zero(),
            charged: zero(),
            others: zero(),
            submitted: zero(),
            recorded: zero(),
            debt: zero(),
            withheld: zero(),
            until: zero(),
            low_water: zero(),
            exhausted_until: zero(),
            exhausted_limit: zero(),
            exhausted_need: zero(),
            rests_until: zero(),
            allowance_taken: zero(),
            shown: zero(),
            known: AtomicBool::new(false),
        }
    }

    pub(crate) const fn key(&self) -> &QuotaKey {
        &self.key
    }

    /// Where the limit holds for a window that moves with time: since when units count.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let since = self.since.load(Ordering::Acquire);
        (since != UNKNOWN).then(|| Timestamp::from_micros(since))
    }

    /// Says so. It changes with the plan only.
    pub(crate) fn set_since(&self, since: Option<Timestamp>) {
        let since = since.map_or(UNKNOWN, Timestamp::as_micros);
        self.since.store(since, Ordering::Release);
    }

    /// The stretch of time that the limit holds for: its end is when units come back, be it with the next period or, in a
    /// window that moves, when its oldest units leave it.
    pub(crate) fn span(&self) -> Period {
        let Period { start, end } = self.key.period;
        let Some(since) = self.since() else {
            return self.key.period;
        };
        let oldest = Timestamp::from_micros(self.oldest.load(Ordering::Acquire).min(start.as_micros()));
        // Each sub-period moves the window on by as much as it is later itself, so this is when `since` is past `oldest`.
        let end = end.plus(oldest.since(since));
        Period {
            start: end.minus(start.since(since)),
            end,
        }
    }

    /// Learns when the oldest units that count were taken.
    pub(crate) fn learn_oldest(&self, oldest: Option<Timestamp>) {
        let oldest = oldest.map_or(UNKNOWN, Timestamp::as_micros);
        self.oldest.store(oldest, Ordering::Release);
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
                    let low = left <= self.low_water.load(Ordering::Relaxed);
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
        let is_low = had.minus(some).get() <= self.low_water.load(Ordering::Relaxed);
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
        let uncovered = self
            .debt
            .load(Ordering::Acquire)
            .saturating_sub(self.withheld.load(Ordering::Acquire));
        let kept = units.get().min(uncovered);
        self.withheld.fetch_add(kept, Ordering::AcqRel);
        self.set_low_water(low_water);
        self.until.fetch_max(until, Ordering::AcqRel);
        self.remaining.fetch_add(units.get() - kept, Ordering::AcqRel);
        Units::new(kept)
    }

    /// Takes what was kept back for debts that are settled, to give it back to the store. Only one may ask at a time.
    pub(crate) fn drain_withheld(&self) -> Units {
        let free = self.free_withheld();
        self.withheld.fetch_sub(free.get(), Ordering::AcqRel);
        free
    }

    /// What was kept back for debts that are settled.
    pub(crate) fn free_withheld(&self) -> Units {
        let debt = self.debt.load(Ordering::Acquire);
        Units::new(self.withheld.load(Ordering::Acquire).saturating_sub(debt))
    }

    /// At or below this many remaining units it is time for more.
    pub(crate) fn set_low_water(&self, units: u64) {
        self.low_water.store(units, Ordering::Relaxed);
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
        self.debt.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Notes charged units that are settled, or never will be. `is_debt` if they were noted as such.
    pub(crate) fn note_recorded(&self, units: Units, is_debt: bool) {
        if is_debt {
            self.debt.fetch_sub(units.get(), Ordering::AcqRel);
        }
        self.recorded.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Whether there are leased units that were not spent, be they kept back or not.
    pub(super) fn has_leased(&self) -> bool {
        !self.remaining().is_zero() || self.withheld.load(Ordering::Acquire) != 0
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
        // What others gave back can be had.
        let left = Units::new(self.exhausted_limit.load(Ordering::Acquire))
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

    /// Notes that the store has nothing left of `limit` beyond what is leased here, and need not be asked before `until`.
    pub(crate) fn set_exhausted(&self, limit: Units, until: u64) {
        self.exhausted_limit.store(limit.get(), Ordering::Release);
        self.exhausted_need
            .store(self.remaining().get() + 1, Ordering::Release);
        self.exhausted_until.store(until, Ordering::Release);
    }

    /// Notes that the store may have something again.
    pub(crate) fn clear_exhausted(&self) {
        self.exhausted_until.store(0, Ordering::Release);
    }

    /// Whether the store had nothing left when it was last asked. A greater limit, or a smaller need, than it was asked
    /// for is another question, and so is one that comes much later.
    pub(crate) fn exhaustion(&self, limit: Units, need: Units, now: u64) -> Exhaustion {
        let until = self.exhausted_until.load(Ordering::Acquire);
        let is_other = limit.get() > self.exhausted_limit.load(Ordering::Acquire)
            || need.get() < self.exhausted_need.load(Ordering::Acquire);
        if until == 0 || is_other || now >= until.saturating_add(STALE_FOR) {
            Exhaustion::No
        } else if now < until {
            Exhaustion::Known
        } else {
            Exhaustion::Stale
        }
    }

    /// Notes that the store failed, and that nothing need be leased in the background before `until`.
    pub(crate) fn set_rest(&self, until: u64) {
        self.rests_until.store(until, Ordering::Release);
    }

    /// Notes that the store answers.
    pub(crate) fn clear_rest(&self) {
        self.rests_until.store(0, Ordering::Release);
    }

    /// Whether the store failed when it was last asked, and that was not long ago.
    pub(crate) fn is_failing(&self, now: u64) -> bool {
        let until = self.rests_until.load(Ordering::Acquire);
        until != 0 && now < until.saturating_add(FAILS_FOR)
    }

    /// Whether a store that failed may be asked again.
    pub(crate) fn has_rested(&self, now: u64) -> bool {
        now >= self.rests_until.load(Ordering::Acquire)
    }

    /// Whether an allowance of `most` units has room for `units`. Takes nothing.
    pub(crate) fn allows(&self, units: Units, most: u64) -> bool {
        let taken = self.allowance_taken.load(Ordering::Acquire);
        taken.saturating_add(units.get()) <= most
    }

    /// Takes `units` out of an allowance of `most`. Answers whether there was room.
    pub(crate) fn take_allowance(&self, units: Units, most: u64) -> bool {
        let took = self
            .allowance_taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                taken.checked_add(units.get()).filter(|taken| *taken <= most)
            });
        took.is_ok()
    }

    /// Notes units that a request turned out to take besides what it took out of the allowance.
    pub(crate) fn note_allowance(&self, units: Units) {
        self.allowance_taken.fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Puts units back into the allowance.
    pub(crate) fn put_back_allowance(&self, units: Units) {
        self.allowance_taken.fetch_sub(units.get(), Ordering::AcqRel);
    }

    /// Whether something of the period's allowance is gone, which must not be forgotten before the period is over.
    pub(crate) fn has_spent_allowance(&self) -> bool {
        self.allowance_taken.load(Ordering::Acquire) > 0
    }

    /// Whether asking the store for more of `limit` in the background is worth while: it had something when it was last
    /// asked, or that was long enough ago, and it answered.
    pub(crate) fn may_have_more(&self, limit: Units, now: u64) -> bool {
        let may_have = now >= self.exhausted_until.load(Ordering::Acquire)
            || limit.get() > self.exhausted_limit.load(Ordering::Acquire);
        may_have && now >= self.rests_until.load(Ordering::Acquire)
    }
}

/// Whether the store has nothing left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhaustion {
    /// Not that we know.
    No,
    /// It said so a moment ago.
    Known,
    /// It said so, but it is time to ask again.
    Stale,
}

/// Nanoseconds of the monotonic clock; they last for 584 years.
pub(crate) const fn nanos(at: Duration) -> u64 {
    let whole = at.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(at.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::AccountId;
    use crate::name::MeterName;

    fn at(start: i64, end: i64, since: Option<i64>) -> Window {
        let key = QuotaKey {
            account: AccountId::from_uuid(uuid::Uuid::nil()),
            meter: MeterName::REQUESTS,
            period: Period {
                start: Timestamp::from_micros(start),
                end: Timestamp::from_micros(end),
            },
        };
        let window = Window::new(key);
        window.set_since(since.map(Timestamp::from_micros));
        window
    }

    fn window() -> Window {
        at(0, 1, None)
    }

    #[test]
    fn units_come_back_when_the_oldest_leave_the_window() {
        let span = |window: &Window| {
            let Period { start, end } = window.span();
            (start.as_micros(), end.as_micros())
        };
        assert_eq!(span(&at(40, 50, None)), (40, 50));
        // Sub-periods of ten, a window of thirty.
        let window = at(40, 50, Some(10));
        assert_eq!(
            span(&window),
            (20, 50),
            "at the next sub-period, as nothing is known"
        );
        for (oldest, end) in [(10, 50), (20, 60), (40, 80), (90, 80)] {
            window.learn_oldest(Some(Timestamp::from_micros(oldest)));
            assert_eq!(span(&window), (end - 30, end));
        }
        window.learn_oldest(None);
        assert_eq!(span(&window), (20, 50));
    }

    #[test]
    fn nothing_is_taken_without_a_lease_or_after_its_end() {
        let window = window();
        assert_eq!(window.take(Units::ONE, 5), Take::Short);
        window.grant(Units::new(2), 10, 0);
        assert_eq!(window.take(Units::ONE, 9), Take::Taken);
        assert_eq!(window.take(Units::ONE, 10), Take::Short);
        assert_eq!(window.take(Units::ONE, 9), Take::TakenLow);
        assert_eq!(window.take(Units::ONE, 9), Take::Short);
        assert_eq!(window.taken_by_all(), Units::new(2));
    }

    #[test]
    fn units_put_back_can_be_taken_again() {
        let window = window();
        window.grant(Units::new(3), 10, 0);
        assert_eq!(window.take(Units::new(3), 0), Take::TakenLow);
        window.put_back(Units::new(2));
        assert_eq!(
            (window.taken_by_all(), window.remaining()),
            (Units::ONE, Units::new(2))
        );
        assert_eq!(window.drain(Units::new(5)), Units::ZERO);
        assert_eq!(window.drain(Units::ONE), Units::ONE);
        assert_eq!(window.drain(Units::ZERO), Units::ONE);
        assert_eq!(window.take(Units::ONE, 0), Take::Short);
    }

    #[test]
    fn what_others_used_is_never_overestimated() {
        let window = window();
        window.note_taken(Units::new(5));
        window.note_submitted(Units::new(5));
        window.learn(Balance {
            used: Units::new(3),
            leased: Units::ZERO,
        });
        assert_eq!(window.taken_by_all(), Units::new(5));
        window.learn(Balance {
            used: Units::new(9),
            leased: Units::ZERO,
        });
        assert_eq!(window.taken_by_all(), Units::new(9));
        window.learn(Balance {
            used: Units::new(7),
            leased: Units::ZERO,
        });
        assert_eq!(window.taken_by_all(), Units::new(9));
    }

    #[test]
    fn a_greater_limit_a_smaller_need_and_a_later_time_are_other_questions() {
        let window = window();
        let ask = |limit, need, now| window.exhaustion(Units::new(limit), Units::new(need), now);
        assert_eq!(ask(5, 3, 1), Exhaustion::No);
        window.grant(Units::new(2), u64::MAX, 0);
        window.set_exhausted(Units::new(5), 10);
        assert_eq!(ask(5, 3, 9), Exhaustion::Known);
        assert_eq!(ask(5, 3, 10), Exhaustion::Stale);
        assert_eq!(ask(6, 3, 1), Exhaustion::No);
        assert_eq!(ask(5, 2, 1), Exhaustion::No);
        assert_eq!(ask(5, 3, 10 + STALE_FOR), Exhaustion::No);
        assert!(!window.may_have_more(Units::new(5), 9) && window.may_have_more(Units::new(5), 10));
        window.clear_exhausted();
        assert_eq!(ask(5, 3, 9), Exhaustion::No);
    }

    #[test]
    fn many_threads_take_exactly_what_was_leased() {
        let window = Arc::new(window());
        window.grant(Units::new(10_000), u64::MAX, 0);
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    let window = Arc::clone(&window);
                    scope.spawn(move || {
                        (0..5_000)
                            .filter(|_| window.take(Units::ONE, 0) != Take::Short)
                            .count() as u64
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 10_000);
        assert_eq!(
            (window.taken_by_all(), window.remaining()),
            (Units::new(10_000), Units::ZERO)
        );
    }
}
