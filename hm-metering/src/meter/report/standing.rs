//! The limits of an account as they stand, for answers and refusals.

use std::sync::Arc;
use std::time::Duration;

use super::shape::own_quota_name;
use super::{LimitReport, RateReport};
use crate::meter::SOON;
use crate::meter::account::Account;
use crate::meter::bucket::{Bucket, Buckets, Violated};
use crate::meter::decide::{Decision, Now};
use crate::meter::hold::Hold;
use crate::name::MeterName;
use crate::period::Period;
use crate::plan::{ConcurrencyLimit, Quota};
use crate::quota::{Lease, nanos};
use crate::rate::gcra::Check;
use crate::refusal::{Refusal, RefusalKind, ViolatedLimit};
use crate::units::Units;

/// For how long units that other processes hold and do not use stay with them, about.
const HELD_FOR: Duration = Duration::from_secs(10);
/// When a request that found no slot should come back. Nobody can tell when one of those under way ends.
const SLOT_FREE_AFTER: Duration = Duration::from_secs(1);

/// Refuses for one of the account's rates or, at positions behind them, of the key's `own`; names the others that refuse as
/// well.
pub(crate) fn refuse_for_rate(
    account: &Account,
    own: Buckets<'_>,
    rate_units: u32,
    (position, check): Violated,
    now: Now,
) -> Decision {
    let ticks = nanos(now.monotonic);
    let mut report = report(account, 0, now);
    let buckets = || account.buckets().iter().chain(own.iter()).enumerate();
    let Some((_, bucket)) = buckets().nth(position) else {
        // There is no such bucket to be violated.
        return Decision::Refused(Refusal::new(RefusalKind::RateLimited), report);
    };
    let is_of_plan = position < account.buckets().len();
    let violated = |position: usize, bucket: Bucket<'_>, limit: u32| ViolatedLimit {
        name: if position < account.buckets().len() {
            report.shape.rate_name(position).to_owned()
        } else {
            bucket.limit().name.clone()
        },
        limit: Units::from(limit),
        remaining: Units::from(bucket.remaining(ticks)),
        elsewhere: Units::ZERO,
        needed: Units::from(rate_units),
        reset: None,
    };
    let (refusal, wait) = match check {
        // More than a burst never fits.
        Check::Never => {
            let limit = violated(position, bucket, bucket.limit().burst);
            (
                Refusal::new(RefusalKind::CostExceedsLimit).with_limit(limit),
                None,
            )
        }
        Check::Later(nanos) => {
            let limit = violated(position, bucket, bucket.limit().limit);
            let mut refusal = Refusal::new(RefusalKind::RateLimited).with_limit(limit);
            for (other, bucket) in buckets().filter(|(other, _)| *other != position) {
                if matches!(bucket.peek(ticks, rate_units), Check::Later(_)) {
                    refusal = refusal.with_limit(violated(other, bucket, bucket.limit().limit));
                }
            }
            let wait = Duration::from_nanos(nanos);
            (refusal.with_retry_after(wait), Some(wait))
        }
        Check::Fits(_) => (Refusal::new(RefusalKind::RateLimited), None),
    };
    // A key's own rates are not in the report.
    report.rate = is_of_plan.then(|| RateReport {
        position,
        remaining: bucket.remaining(ticks),
        wait,
    });
    Decision::Refused(refusal, report)
}

/// Refuses for a concurrency limit.
pub(crate) fn refuse_for_concurrency(account: &Account, limit: &ConcurrencyLimit, now: Now) -> Decision {
    let report = report(account, 0, now);
    let mut limits = account.plan().concurrency.iter();
    let position = limits.position(|own| std::ptr::eq(own, limit));
    let name = position.map_or(&*limit.name, |position| report.shape.concurrency_name(position));
    let refusal = Refusal::new(RefusalKind::ConcurrencyLimited)
        .with_limit(ViolatedLimit {
            name: name.to_owned(),
            limit: Units::from(limit.limit),
            remaining: Units::ZERO,
            elsewhere: Units::ZERO,
            needed: Units::ONE,
            reset: None,
        })
        .with_retry_after(SLOT_FREE_AFTER);
    Decision::Refused(refusal, report)
}

/// Refuses since the quota store can't answer.
pub(crate) fn refuse_unanswered(account: &Account, now: Now) -> Decision {
    let refusal = Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON);
    Decision::Refused(refusal, report(account, 0, now))
}

/// Refuses for `quota`, one of the plan's or the key's own, of which the request needs `need`. The report shows the plan's.
pub(crate) fn refuse_for_quota(
    account: &Account,
    quota: &Quota,
    lease: &Lease,
    need: Units,
    now: Now,
) -> Decision {
    let window = lease.window();
    let period = window.span();
    let limit = quota.limit.unwrap_or(Units::MAX);
    let is_own = window.key_id().is_some();
    let mut report = if is_own {
        report(account, 0, now)
    } else {
        let position = account.quotas().position(|(has, _)| has.meter == quota.meter);
        let shown = position.map(|position| (position, period));
        let mut report = report_of(account, shown, window.show(window.used()), now);
        report.in_flight = window.taken_by_all().minus(report.used);
        report
    };
    let left = limit.minus(window.used());
    let remaining = window.remaining().min(left);
    // More than the whole quota never fits, so waiting does not help.
    let kind = if need > limit {
        RefusalKind::CostExceedsLimit
    } else {
        RefusalKind::QuotaExceeded
    };
    let mut refusal = Refusal::new(kind).with_limit(ViolatedLimit {
        name: if is_own {
            own_quota_name(quota)
        } else {
            report.shape.quota_name().to_owned()
        },
        limit,
        remaining,
        elsewhere: left.minus(remaining),
        needed: need,
        reset: Some(period.end),
    });
    if kind == RefusalKind::QuotaExceeded {
        let mut wait = period.end.since(now.wall);
        if left >= need.max(Units::ONE) {
            // What others hold may come back soon.
            wait = wait.min(HELD_FOR);
            if !is_own {
                report.quota_wait = Some(wait);
            }
        }
        refusal = refusal.with_retry_after(wait);
    }
    Decision::Refused(refusal, report)
}

/// The limits as they stand, with what the request in hand is charged of a meter counted in. `holds` are what was taken for
/// it: its period is shown, even if another one has begun since.
pub(crate) fn report_with(
    account: &Account,
    holds: &[Hold],
    charged: impl Fn(&MeterName) -> Units,
    now: Now,
) -> LimitReport {
    let Some((quota, counter)) = account.quota(0) else {
        return report(account, 0, now);
    };
    let own = charged(&quota.meter);
    if let Some(hold) = holds.iter().find(|hold| *hold.meter() == quota.meter) {
        return report_on(account, 0, &hold.lease, own, now);
    }
    match counter.at(now.wall) {
        Some(lease) => report_on(account, 0, &lease, own, now),
        None => report_of(account, None, own, now),
    }
}

/// The limits as they stand, for an answer that has nothing to do with them. Err with a counter whose state is not known.
pub(crate) fn stand(account: &Account, has_book: bool, now: Now) -> Result<LimitReport, Arc<Lease>> {
    if let Some((_, counter)) = account.quota(0).filter(|_| has_book) {
        let lease = counter.open(now.wall);
        if !lease.window().is_known() {
            return Err(lease);
        }
    }
    Ok(report(account, 0, now))
}

/// The limits as they stand, with the state of the quota at `position`, if there is one and its counter is open.
fn report(account: &Account, position: usize, now: Now) -> LimitReport {
    let lease = account
        .quota(position)
        .and_then(|(_, counter)| counter.at(now.wall));
    match lease {
        Some(lease) => report_on(account, position, &lease, Units::ZERO, now),
        None => report_of(account, None, Units::ZERO, now),
    }
}

/// The same, with what the request in hand is charged.
fn report_on(account: &Account, position: usize, lease: &Lease, own: Units, now: Now) -> LimitReport {
    let window = lease.window();
    let used = window.show(window.used().plus(own));
    report_of(account, Some((position, window.span())), used, now)
}

fn report_of(account: &Account, quota: Option<(usize, Period)>, used: Units, now: Now) -> LimitReport {
    let shape = account.shape(quota);
    let is_limited = shape.quota.as_ref().is_some_and(|quota| quota.limit.is_some());
    LimitReport {
        now: now.wall,
        used,
        in_flight: Units::ZERO,
        rate: if is_limited {
            None
        } else {
            nearest_rate(account, now)
        },
        quota_wait: None,
        shape,
    }
}

/// The rate limit with the smallest share left.
fn nearest_rate(account: &Account, now: Now) -> Option<RateReport> {
    let ticks = nanos(now.monotonic);
    let states = account.buckets().iter().enumerate().map(|(position, bucket)| {
        let remaining = bucket.remaining(ticks);
        let share = u64::from(remaining) * 1_000_000 / u64::from(bucket.limit().burst.max(1));
        (
            share,
            RateReport {
                position,
                remaining,
                wait: None,
            },
        )
    });
    states.min_by_key(|(share, _)| *share).map(|(_, rate)| rate)
}
