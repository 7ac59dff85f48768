//! The stretch of time that a window counts in.

use std::sync::atomic::Ordering;

use super::Window;
use super::rare::UNKNOWN;
use crate::period::Period;
use crate::time::Timestamp;

impl Window {
    pub(crate) const fn start(&self) -> Timestamp {
        self.start
    }

    pub(crate) fn period(&self) -> Period {
        Period {
            start: self.start,
            end: Timestamp::from_micros(self.end.load(Ordering::Acquire)),
        }
    }

    /// Says when its period ends: another rule may have one that begins at the same moment.
    pub(crate) fn set_end(&self, end: Timestamp) {
        if self.end.load(Ordering::Acquire) != end.as_micros() {
            self.end.store(end.as_micros(), Ordering::Release);
        }
    }

    /// Where the limit holds for a window that moves with time: since when units count.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let since = self.rare()?.since.load(Ordering::Acquire);
        (since != UNKNOWN).then(|| Timestamp::from_micros(since))
    }

    /// Says so. It changes with the plan only.
    pub(crate) fn set_since(&self, since: Option<Timestamp>) {
        if since.is_some() || self.rare().is_some() {
            let since = since.map_or(UNKNOWN, Timestamp::as_micros);
            self.make_rare().since.store(since, Ordering::Release);
        }
    }

    /// The stretch of time that the limit holds for: its end is when units come back, be it with the next period or, in a
    /// window that moves, when its oldest units leave it.
    pub(crate) fn span(&self) -> Period {
        let Period { start, end } = self.period();
        let Some((since, rare)) = self.since().zip(self.rare()) else {
            return Period { start, end };
        };
        let oldest = Timestamp::from_micros(rare.oldest.load(Ordering::Acquire).min(start.as_micros()));
        // Each sub-period moves the window on by as much as it is later itself, so this is when `since` is past `oldest`.
        let end = end.plus(oldest.since(since));
        Period {
            start: end.minus(start.since(since)),
            end,
        }
    }

    /// Learns when the oldest units that count were taken.
    pub(crate) fn learn_oldest(&self, oldest: Option<Timestamp>) {
        if oldest.is_some() || self.rare().is_some() {
            let oldest = oldest.map_or(UNKNOWN, Timestamp::as_micros);
            self.make_rare().oldest.store(oldest, Ordering::Release);
        }
    }
}
