//! Taking a request's units from every limit, or from none.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::account::{Account, Bucket};
use super::report::LimitReport;
use super::report::standing::{refuse_for_quota, refuse_for_rate, report_with};
use crate::name::MeterName;
use crate::operation::Operation;
use crate::plan::Quota;
use crate::quota::{Counter, Exhaustion, Lease, LeaseBook, Take, nanos};
use crate::rate::gcra::Check;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::units::Units;

/// Units taken on one counter for a request.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) lease: Arc<Lease>,
    /// What the plan allows; none for unlimited.
    pub(crate) limit: Option<Units>,
    pub(crate) units: Units,
    /// Whether they came out of a lease.
    pub(crate) leased: bool,
}

impl Hold {
    pub(crate) fn meter(&self) -> &MeterName {
        &self.lease.window().key().meter
    }

    /// Gives back `units` of what was taken.
    pub(crate) fn put_back(&self, units: Units) {
        if self.leased {
            self.lease.window().put_back(units);
        } else {
            self.lease.window().unnote_taken(units);
        }
    }
}

pub(crate) type Holds = SmallVec<[Hold; 1]>;

/// What became of an attempt.
pub(crate) enum Decision {
    /// Everything was taken.
    Allowed(Holds, LimitReport),
    /// Nothing was taken.
    Refused(Refusal, LimitReport),
    /// Nothing was taken; the store has to be asked about this counter first.
    Ask {
        lease: Arc<Lease>,
        limit: Option<Units>,
        need: Units,
    },
}

/// The time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Duration,
}

/// Decides about one request. `own` are the rates of its key, beside the account's. `book` is none where nothing counts quotas.
pub(crate) fn decide(
    account: &Account,
    own: &[Bucket],
    operation: &Operation,
    book: Option<&Arc<LeaseBook>>,
    now: Now,
) -> Decision {
    let ticks = nanos(now.monotonic);
    // Rates come first: what is taken of a quota and put back again would show in other requests' headers for a moment.
    if let Err((position, check)) = take_rates(&account.buckets, ticks) {
        return refuse_for_rate(account, own, position, check, now);
    }
    if let Err((position, check)) = take_rates(own, ticks) {
        put_back(&account.buckets);
        return refuse_for_rate(account, own, account.buckets.len() + position, check, now);
    }
    let mut holds = Holds::new();
    if let Some(book) = book {
        for (quota, counter) in &account.quotas {
            // What the operation does not name it does not take.
            let Some(need) = operation.cost_in(&quota.meter) else {
                continue;
            };
            let lease = open(account, quota, counter, now);
            match take(quota, lease, need, book, ticks) {
                Ok(hold) => holds.push(hold),
                Err(missed) => {
                    undo(account, own, &holds);
                    return match missed {
                        Missed::Ask { lease, limit } => Decision::Ask { lease, limit, need },
                        Missed::Exceeded(lease) => refuse_for_quota(account, quota, &lease, need, now),
                    };
                }
            }
        }
    }
    let report = report_with(account, |meter| operation.units_of(meter), now);
    Decision::Allowed(holds, report)
}

/// Takes one from every rate, or from none.
fn take_rates(buckets: &[Bucket], ticks: u64) -> Result<(), (usize, Check)> {
    if let Some(violated) = violated_rate(buckets, ticks) {
        return Err(violated);
    }
    for (position, bucket) in buckets.iter().enumerate() {
        let check = bucket.take(ticks, 1);
        if !matches!(check, Check::Fits(_)) {
            // Somebody else was faster since the first look.
            put_back(&buckets[..position]);
            return Err((position, check));
        }
    }
    Ok(())
}

enum Missed {
    Ask { lease: Arc<Lease>, limit: Option<Units> },
    Exceeded(Arc<Lease>),
}

fn take(
    quota: &Quota,
    lease: Arc<Lease>,
    need: Units,
    book: &Arc<LeaseBook>,
    ticks: u64,
) -> Result<Hold, Missed> {
    let window = lease.window();
    let limit = match quota.limit {
        Some(limit) if !need.is_zero() => limit,
        // Nothing to lease: unlimited, or only the handler will know. Then something must be left, and what it is has to
        // be known.
        limit => {
            if !window.is_known() {
                return Err(Missed::Ask { lease, limit: None });
            }
            if limit.is_some_and(|limit| window.taken_by_all() >= limit) {
                return Err(Missed::Exceeded(lease));
            }
            window.note_taken(need);
            return Ok(Hold {
                lease,
                limit,
                units: need,
                leased: false,
            });
        }
    };
    // Units are leased below the limit of their day. Under a plan that has shrunk since, they are too many.
    if need > limit || window.taken_by_all().plus(need) > limit {
        return Err(Missed::Exceeded(lease));
    }
    match window.take(need, ticks) {
        Take::Taken => {}
        Take::TakenLow => {
            if window.may_have_more(limit, ticks) {
                book.start_renewal(&lease, quota.limit, Units::ZERO);
            }
        }
        Take::Short => {
            return Err(match window.exhaustion(limit, need, ticks) {
                Exhaustion::No => Missed::Ask {
                    lease,
                    limit: quota.limit,
                },
                Exhaustion::Known => Missed::Exceeded(lease),
                Exhaustion::Stale => {
                    // Nobody waits for this answer: it is most likely the same as before.
                    book.start_renewal(&lease, quota.limit, need);
                    Missed::Exceeded(lease)
                }
            });
        }
    }
    Ok(Hold {
        lease,
        limit: quota.limit,
        units: need,
        leased: true,
    })
}

/// Undoes what was taken for a request that is not served after all.
pub(crate) fn undo(account: &Account, own: &[Bucket], holds: &[Hold]) {
    holds.iter().for_each(|hold| hold.put_back(hold.units));
    put_back(&account.buckets);
    put_back(own);
}

fn put_back(buckets: &[Bucket]) {
    buckets.iter().for_each(|bucket| bucket.put_back(1));
}

/// The rate limit that the request would have to wait for longest.
fn violated_rate(buckets: &[Bucket], ticks: u64) -> Option<(usize, Check)> {
    buckets
        .iter()
        .map(|bucket| bucket.peek(ticks, 1))
        .enumerate()
        .filter(|(_, check)| !matches!(check, Check::Fits(_)))
        .max_by_key(|(_, check)| match check {
            Check::Fits(_) => 0,
            Check::Later(wait) => *wait,
            Check::Never => u64::MAX,
        })
}

/// The window of a quota's present period.
pub(crate) fn open(account: &Account, quota: &Quota, counter: &Counter, now: Now) -> Arc<Lease> {
    counter.at(now.wall).unwrap_or_else(|| {
        let period = quota.period.period_at(now.wall, account.anchor);
        counter.open(account.id, &quota.meter, period)
    })
}
