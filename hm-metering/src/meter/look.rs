//! Whether a quota has room for a request, and how its units are to be taken. Takes nothing.

use std::sync::Arc;

use super::decide::{Missed, Store};
use super::hold::{Beyond, Hold};
use crate::on_unavailable::OnUnavailable;
use crate::plan::{Quota, QuotaMode};
use crate::quota::{Exhaustion, Lease, LeaseBook};
use crate::units::Units;

/// Looks whether `quota` has room for `need` units, and answers how they are to be taken. Takes nothing.
pub(super) fn look<'a>(
    quota: &'a Quota,
    lease: Arc<Lease>,
    need: Units,
    book: &Arc<LeaseBook>,
    ticks: u64,
) -> Result<Hold, Missed<'a>> {
    let window = lease.window();
    let (Some(limit), Some(lease_limit)) = (quota.limit, quota.lease_limit()) else {
        return if window.is_known() {
            Ok(hold(quota, lease, need, false))
        } else {
            Err(ask(lease, None, need))
        };
    };
    if need.is_zero() {
        // Only the handler will know. Until then something must be left, and what it is has to be known.
        return if !window.is_known() {
            Err(ask(lease, None, need))
        } else if window.taken_by_all() >= limit {
            beyond(quota, lease, need)
        } else {
            // Leased meanwhile, so that it is at hand when the handler knows.
            if !window.has(Units::ONE, ticks) && window.may_have_more(lease_limit, ticks) {
                book.start_renewal(&lease, Some(lease_limit), Units::ONE);
            }
            Ok(hold(quota, lease, need, false))
        };
    }
    // As far as is known: what others took lately may be missing. Units may have been leased below a greater limit, that of a
    // plan that has shrunk since or that of a balanced quota.
    let is_reached = match quota.mode {
        QuotaMode::Strict | QuotaMode::Balanced { .. } => window.taken_by_all().plus(need) > limit,
        QuotaMode::Soft | QuotaMode::Shadow => false,
    };
    if need > limit || is_reached {
        return beyond(quota, lease, need);
    }
    if window.has(need, ticks) {
        return Ok(hold(quota, lease, need, true));
    }
    match window.exhaustion(lease_limit, need, ticks) {
        Exhaustion::No => Err(ask(lease, Some(lease_limit), need)),
        Exhaustion::Known => beyond(quota, lease, need),
        Exhaustion::Stale => {
            // Nobody waits for this answer: it is most likely the same as before.
            book.start_renewal(&lease, Some(lease_limit), need);
            beyond(quota, lease, need)
        }
    }
}

/// What becomes of a request that the store `asked` about must be asked for, where its operation has a `policy` for a store
/// that can't answer: it goes on without if the store was silent lately. Then nobody waits for it, but it is asked anew.
pub(super) fn fall_back<'a>(
    policy: OnUnavailable,
    store: Store,
    quota: &'a Quota,
    asked: Missed<'a>,
    book: &Arc<LeaseBook>,
    ticks: u64,
) -> Result<Hold, Missed<'a>> {
    let Missed::Ask { lease, limit, need } = asked else {
        return Err(asked);
    };
    let window = lease.window();
    if store == Store::Answers && !window.is_failing(ticks) {
        return Err(ask(lease, limit, need));
    }
    if window.has_rested(ticks) {
        book.start_renewal(&lease, limit, need);
    }
    let never_refuses = quota.limit.is_none() || matches!(quota.mode, QuotaMode::Soft | QuotaMode::Shadow);
    let beyond = match policy {
        OnUnavailable::Closed => return Err(ask(lease, limit, need)),
        OnUnavailable::Safe { units } if !never_refuses => {
            // One that takes nothing yet needs something to be left, as of a quota.
            if !window.allows(need.max(Units::ONE), units.into()) {
                return Err(Missed::Silent);
            }
            Beyond::Allowance(units)
        }
        OnUnavailable::Safe { .. } | OnUnavailable::Open { .. } => Beyond::Open,
    };
    Ok(Hold {
        beyond: Some(beyond),
        ..hold(quota, lease, need, false)
    })
}

fn hold(quota: &Quota, lease: Arc<Lease>, units: Units, leased: bool) -> Hold {
    Hold {
        lease,
        limit: quota.limit,
        mode: quota.mode,
        units,
        leased,
        beyond: None,
    }
}

const fn ask<'a>(lease: Arc<Lease>, limit: Option<Units>, need: Units) -> Missed<'a> {
    Missed::Ask { lease, limit, need }
}

/// What becomes of a request that `quota` has no room for.
fn beyond(quota: &Quota, lease: Arc<Lease>, need: Units) -> Result<Hold, Missed<'_>> {
    let beyond = match quota.mode {
        QuotaMode::Strict | QuotaMode::Balanced { .. } => {
            return Err(Missed::Exceeded { quota, lease, need });
        }
        QuotaMode::Soft => Beyond::Over,
        QuotaMode::Shadow => Beyond::WouldRefuse,
    };
    if !lease.window().is_known() {
        return Err(ask(lease, None, need));
    }
    // Nothing is leased for what is beyond the limit; what is left of a lease stays for requests that fit.
    Ok(Hold {
        beyond: Some(beyond),
        ..hold(quota, lease, need, false)
    })
}
