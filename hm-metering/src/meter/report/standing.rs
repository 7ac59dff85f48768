//! The limits of an account as they stand, for answers and refusals.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{LimitReport, QuotaReport, RateReport};
use crate::meter::account::Account;
use crate::meter::bucket::{Bucket, Violated};
use crate::meter::decide::{Decision, Holds, Now, open};
use crate::name::MeterName;
use crate::plan::{ConcurrencyLimit, Quota};
use crate::quota::{Lease, nanos};
use crate::rate::gcra::Check;
use crate::refusal::{Refusal, RefusalKind, ViolatedLimit};
use crate::units::Units;

/// For how long units that other processes hold and do not use stay with them, about.
const HELD_FOR: Duration = Duration::from_secs(10);
/// When a request that found no slot should come back. Nobody can tell when one of those under way ends.
const SLOT_FREE_AFTER: Duration = Duration::from_secs(1);

/// `own` are the rates of the request's key, whose positions come after those of the plan.
pub(crate) fn refuse_for_rate(
    account: &Account,
    own: &[Bucket],
    rate_units: u32,
    (position, check): Violated,
    now: Now,
) -> Decision {
    let of_plan = account.buckets.get(position);
    let Some(bucket) = of_plan.or_else(|| own.get(position - account.buckets.len())) else {
        // There is no such bucket to be violated.
        return Decision::Refused(Refusal::new(RefusalKind::RateLimited), report(account, None, now));
    };
    let wait = match check {
        Check::Later(nanos) => Some(Duration::from_nanos(nanos)),
        Check::Fits(_) | Check::Never => None,
    };
    let remaining = bucket.remaining(nanos(now.monotonic));
    let mut refusal = Refusal::new(RefusalKind::RateLimited).with_limit(ViolatedLimit {
        name: bucket.limit.name.clone(),
        limit: Units::from(bucket.limit.limit),
        remaining: Units::from(remaining),
        elsewhere: Units::ZERO,
        needed: Units::from(rate_units),
        reset: None,
    });
    refusal = match wait {
        Some(wait) => refusal.with_retry_after(wait),
        None => refusal.with_never(),
    };
    // A key's own rates are not in the report.
    let rate = of_plan.map(|_| RateReport {
        position,
        remaining,
        wait: wait.or(Some(Duration::ZERO)),
    });
    let mut report = report(account, account.quotas.first().map(|(quota, _)| quota), now);
    report.rate = rate;
    Decision::Refused(refusal, report)
}

pub(crate) fn refuse_for_concurrency(account: &Account, limit: &ConcurrencyLimit, now: Now) -> Decision {
    let refusal = Refusal::new(RefusalKind::ConcurrencyLimited)
        .with_limit(ViolatedLimit {
            name: limit.name.clone(),
            limit: Units::from(limit.limit),
            remaining: Units::ZERO,
            elsewhere: Units::ZERO,
            needed: Units::ONE,
            reset: None,
        })
        .with_retry_after(SLOT_FREE_AFTER);
    let first = account.quotas.first().map(|(quota, _)| quota);
    Decision::Refused(refusal, report(account, first, now))
}

pub(crate) fn refuse_for_quota(
    account: &Account,
    quota: &Quota,
    lease: &Lease,
    need: Units,
    now: Now,
) -> Decision {
    let window = lease.window();
    let reset = window.span().end;
    let limit = quota.limit.unwrap_or(Units::MAX);
    let left = limit.minus(window.used());
    let remaining = window.remaining().min(left);
    let mut refusal = Refusal::new(RefusalKind::QuotaExceeded).with_limit(ViolatedLimit {
        name: limit_name(quota).into_owned(),
        limit,
        remaining,
        elsewhere: left.minus(remaining),
        needed: need,
        reset: Some(reset),
    });
    // More than the whole quota never fits, so waiting does not help. What others hold may come back soon.
    if need <= limit {
        let until_reset = reset.since(now.wall);
        let is_elsewhere = left >= need.max(Units::ONE);
        refusal = refusal.with_retry_after(if is_elsewhere {
            until_reset.min(HELD_FOR)
        } else {
            until_reset
        });
    } else {
        refusal = refusal.with_never();
    }
    Decision::Refused(refusal, report(account, Some(quota), now))
}

/// The same for a request that holds something: its quota is shown as of the period that it was taken in, which may be over.
pub(crate) fn report_held(
    account: &Account,
    charged: impl Fn(&MeterName) -> Units,
    holds: &Holds,
    now: Now,
) -> LimitReport {
    let first = account.quotas.first().map(|(quota, _)| quota);
    let held = first.and_then(|first| {
        let hold = holds.iter().next()?;
        (hold.lease.window().key().meter == first.meter).then(|| (first, quota_report(first, &hold.lease)))
    });
    let Some((first, mut quota)) = held else {
        return report_with(account, charged, now);
    };
    quota.used = quota.used.plus(charged(&first.meter));
    report_of(account, Some(quota), now)
}

/// The limits as they stand, with what the request in hand is charged of a meter counted in.
pub(crate) fn report_with(account: &Account, charged: impl Fn(&MeterName) -> Units, now: Now) -> LimitReport {
    let first = account.quotas.first().map(|(quota, _)| quota);
    let mut report = report(account, first, now);
    if let (Some(quota), Some(state)) = (first, &mut report.quota) {
        state.used = state.used.plus(charged(&quota.meter));
    }
    report
}

/// The limits as they stand, for an answer that has nothing to do with them. Err with a counter whose state is not known.
pub(crate) fn stand(account: &Account, has_book: bool, now: Now) -> Result<LimitReport, Arc<Lease>> {
    if let Some((quota, counter)) = account.quotas.first().filter(|_| has_book) {
        let lease = open(account, quota, counter, now.wall);
        if !lease.window().is_known() {
            return Err(lease);
        }
    }
    Ok(report(
        account,
        account.quotas.first().map(|(quota, _)| quota),
        now,
    ))
}

/// A quota's name in headers and refusals. That of the meter that everybody means is left out.
fn limit_name(quota: &Quota) -> Cow<'static, str> {
    let period = quota.period.name();
    if quota.meter == MeterName::REQUESTS {
        Cow::Borrowed(period)
    } else {
        Cow::Owned(format!("{}-{period}", quota.meter))
    }
}

/// The limits as they stand, with the state of `shown`, one of the plan's quotas, if its counter is open.
fn report(account: &Account, shown: Option<&Quota>, now: Now) -> LimitReport {
    let quota = shown.and_then(|shown| {
        let (_, counter) = account
            .quotas
            .iter()
            .find(|(quota, _)| quota.meter == shown.meter)?;
        let lease = counter.at(now.wall, shown.period, account.anchor)?;
        Some(quota_report(shown, &lease))
    });
    report_of(account, quota, now)
}

fn quota_report(quota: &Quota, lease: &Lease) -> QuotaReport {
    let span = lease.window().span();
    QuotaReport {
        name: limit_name(quota),
        limit: quota.limit,
        used: lease.window().used(),
        start: span.start,
        reset: span.end,
    }
}

fn report_of(account: &Account, quota: Option<QuotaReport>, now: Now) -> LimitReport {
    let limited = quota.as_ref().is_some_and(|quota| quota.limit.is_some());
    LimitReport {
        plan: Arc::clone(&account.plan),
        now: now.wall,
        rate: if limited { None } else { nearest_rate(account, now) },
        quota,
    }
}

/// The rate limit with the smallest share left.
fn nearest_rate(account: &Account, now: Now) -> Option<RateReport> {
    let ticks = nanos(now.monotonic);
    let states = account.buckets.iter().enumerate().map(|(position, bucket)| {
        let remaining = bucket.remaining(ticks);
        let share = u64::from(remaining) * 1_000_000 / u64::from(bucket.limit.burst.max(1));
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
