//! What was taken for a request.

use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use super::slots::Occupied;
use crate::name::MeterName;
use crate::plan::QuotaMode;
use crate::quota::Lease;
use crate::refusal::{Refusal, RefusalKind};
use crate::units::Units;

/// Units taken on one counter for a request.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) lease: Arc<Lease>,
    /// What the plan allows; none for unlimited.
    pub(crate) limit: Option<Units>,
    pub(crate) mode: QuotaMode,
    pub(crate) units: Units,
    /// Whether they came out of a lease.
    pub(crate) leased: bool,
    /// Set where the limit had no room for them and the quota's mode let them through all the same.
    pub(crate) beyond: Option<Beyond>,
}

/// How a quota without room lets a request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// The quota never refuses.
    Over,
    /// The quota only says what it would have done.
    WouldRefuse,
    /// The store could not answer, and the operation goes on without it.
    Open,
    /// The store could not answer, and these are of the allowance of so many units for that.
    Allowance(u32),
}

impl Hold {
    /// The most that may be leased; none for unlimited.
    pub(crate) fn lease_limit(&self) -> Option<Units> {
        self.mode.lease_limit(self.limit)
    }

    /// Whether the quota lets everything through.
    pub(crate) const fn never_refuses(&self) -> bool {
        matches!(self.mode, QuotaMode::Soft | QuotaMode::Shadow)
    }

    pub(crate) fn meter(&self) -> &MeterName {
        &self.lease.window().key().meter
    }

    /// Whether it is `units` of `meter`, out of a lease, and something.
    pub(super) fn took(&self, meter: &MeterName, units: Units) -> bool {
        self.leased && self.units == units && !units.is_zero() && self.meter() == meter
    }

    /// Gives back `units` of what was taken.
    pub(crate) fn put_back(&self, units: Units) {
        if self.leased {
            self.lease.window().put_back(units);
        } else {
            self.lease.window().unnote_taken(units);
        }
        if self.is_of_allowance() {
            self.lease.window().put_back_allowance(units);
        }
    }

    /// Whether it came out of the allowance for times when the store can't answer.
    pub(crate) const fn is_of_allowance(&self) -> bool {
        matches!(self.beyond, Some(Beyond::Allowance(_)))
    }

    /// Takes what is held without a lease. Answers whether it could be had.
    pub(super) fn take_unleased(&self) -> bool {
        let window = self.lease.window();
        if let Some(Beyond::Allowance(most)) = self.beyond
            && !window.take_allowance(self.units, most.into())
        {
            return false;
        }
        window.note_taken(self.units);
        true
    }
}

/// Everything that was taken for a request. Its slots are given back when it is dropped at the latest.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    pub(super) quotas: SmallVec<[Hold; 1]>,
    pub(super) rate_units: u32,
    pub(super) slots: Occupied,
}

impl Deref for Holds {
    type Target = [Hold];

    /// What was taken of each quota.
    fn deref(&self) -> &[Hold] {
        &self.quotas
    }
}

impl Holds {
    /// Gives the slots back: the request is over. Once is enough, and more than once does nothing.
    pub(crate) fn leave_slots(&self) {
        self.slots.leave();
    }

    /// Whether a quota was over its limit and let the request through all the same.
    pub(crate) fn is_over(&self) -> bool {
        let is_over = |hold: &Hold| match hold.beyond {
            Some(Beyond::Over) => true,
            Some(Beyond::Open) => hold.limit.is_some() && !hold.never_refuses(),
            Some(Beyond::WouldRefuse | Beyond::Allowance(_)) | None => false,
        };
        self.iter().any(is_over)
    }

    /// Whether the request is let through although the store could not answer.
    pub(crate) fn is_fallback(&self) -> bool {
        let is_fallback = |hold: &Hold| matches!(hold.beyond, Some(Beyond::Open | Beyond::Allowance(_)));
        self.iter().any(is_fallback)
    }

    /// The code that the request would have been refused with, if a quota only says so.
    pub(crate) fn would_refuse(&self) -> Option<&'static str> {
        let hold = self
            .iter()
            .find(|hold| hold.beyond == Some(Beyond::WouldRefuse))?;
        let kind = if hold.limit.is_some_and(|limit| hold.units > limit) {
            RefusalKind::CostExceedsLimit
        } else {
            RefusalKind::QuotaExceeded
        };
        Some(Refusal::new(kind).code())
    }
}
