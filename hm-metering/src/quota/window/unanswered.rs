//! What a window knows of a store that has nothing left, or does not answer.

use std::sync::atomic::Ordering;

use super::Window;
use crate::units::Units;

/// For how long, in nanoseconds, a "nothing left" that is out of date is still the likely answer.
pub(super) const STALE_FOR: u64 = 10_000_000_000;
/// For how long, in nanoseconds, a store that failed is expected to fail again.
const FAILS_FOR: u64 = 10_000_000_000;

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

impl Window {
    /// Notes that the store has nothing left of `limit` beyond what is leased here, and need not be asked before `until`.
    pub(crate) fn set_exhausted(&self, limit: Units, until: u64) {
        let rare = self.make_rare();
        rare.exhausted_limit.store(limit.get(), Ordering::Release);
        rare.exhausted_need
            .store(self.remaining().get() + 1, Ordering::Release);
        rare.exhausted_until.store(until, Ordering::Release);
    }

    /// Notes that the store may have something again.
    pub(crate) fn clear_exhausted(&self) {
        if let Some(rare) = self.rare() {
            rare.exhausted_until.store(0, Ordering::Release);
        }
    }

    /// Whether the store had nothing left when it was last asked. A greater limit, or a smaller need, than it was asked
    /// for is another question, and so is one that comes much later.
    pub(crate) fn exhaustion(&self, limit: Units, need: Units, now: u64) -> Exhaustion {
        let Some(rare) = self.rare() else {
            return Exhaustion::No;
        };
        let until = rare.exhausted_until.load(Ordering::Acquire);
        let is_other = limit.get() > rare.exhausted_limit.load(Ordering::Acquire)
            || need.get() < rare.exhausted_need.load(Ordering::Acquire);
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
        self.make_rare().rests_until.store(until, Ordering::Release);
    }

    /// Notes that the store answers.
    pub(crate) fn clear_rest(&self) {
        if let Some(rare) = self.rare() {
            rare.rests_until.store(0, Ordering::Release);
        }
    }

    /// Whether the store failed when it was last asked, and that was not long ago.
    pub(crate) fn is_failing(&self, now: u64) -> bool {
        let until = self.rests_until();
        until != 0 && now < until.saturating_add(FAILS_FOR)
    }

    /// Whether a store that failed may be asked again.
    pub(crate) fn has_rested(&self, now: u64) -> bool {
        now >= self.rests_until()
    }

    fn rests_until(&self) -> u64 {
        self.rare()
            .map_or(0, |rare| rare.rests_until.load(Ordering::Acquire))
    }

    /// Whether an allowance of `most` units has room for `units`. Takes nothing.
    pub(crate) fn allows(&self, units: Units, most: u64) -> bool {
        let taken = self.allowance_taken();
        taken.saturating_add(units.get()) <= most
    }

    /// Takes `units` out of an allowance of `most`. Answers whether there was room.
    pub(crate) fn take_allowance(&self, units: Units, most: u64) -> bool {
        let took =
            self.make_rare()
                .allowance_taken
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                    taken.checked_add(units.get()).filter(|taken| *taken <= most)
                });
        took.is_ok()
    }

    /// Notes units that a request turned out to take besides what it took out of the allowance.
    pub(crate) fn note_allowance(&self, units: Units) {
        self.make_rare()
            .allowance_taken
            .fetch_add(units.get(), Ordering::AcqRel);
    }

    /// Puts units back into the allowance.
    pub(crate) fn put_back_allowance(&self, units: Units) {
        self.make_rare()
            .allowance_taken
            .fetch_sub(units.get(), Ordering::AcqRel);
    }

    /// Whether something of the period's allowance is gone, which must not be forgotten before the period is over.
    pub(crate) fn has_spent_allowance(&self) -> bool {
        self.allowance_taken() > 0
    }

    fn allowance_taken(&self) -> u64 {
        self.rare()
            .map_or(0, |rare| rare.allowance_taken.load(Ordering::Acquire))
    }

    /// Whether asking the store for more of `limit` in the background is worth while: it had something when it was last
    /// asked, or that was long enough ago, and it answered.
    pub(crate) fn may_have_more(&self, limit: Units, now: u64) -> bool {
        self.rare().is_none_or(|rare| {
            let may_have = now >= rare.exhausted_until.load(Ordering::Acquire)
                || limit.get() > rare.exhausted_limit.load(Ordering::Acquire);
            may_have && now >= rare.rests_until.load(Ordering::Acquire)
        })
    }
}
