//! Taking a request's units from every limit, or from none.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::account::Account;
use super::bucket::{self, Buckets};
use super::report::LimitReport;
use super::report::standing::{refuse_for_concurrency, refuse_for_quota, refuse_for_rate, refuse_unanswered};
use super::slots::Occupied;
use crate::name::MeterName;
use crate::on_unavailable::OnUnavailable;
use crate::operation::Operation;
use crate::plan::{ConcurrencyLimit, Quota, QuotaMode};
use crate::quota::{Exhaustion, Lease, LeaseBook, Take, nanos};
use crate::rate::gcra::Check;
use crate::refusal::{Refusal, RefusalKind};
use crate::time::Timestamp;
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
        self.lease.window().meter()
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
    fn take_unleased(&self) -> bool {
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
    quotas: SmallVec<[Hold; 1]>,
    rate_units: u32,
    slots: Occupied,
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

/// What became of an attempt.
pub(crate) enum Decision {
    /// Everything was taken.
    Allowed(Holds),
    /// Nothing was taken.
    Refused(Refusal, LimitReport),
    /// Nothing was taken; the store has to be asked about this counter first.
    Ask {
        lease: Arc<Lease>,
        /// The most that may be leased; none where only the balance is to be learnt.
        limit: Option<Units>,
        need: Units,
    },
}

/// What is known of the quota store while a request is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// It was not asked for this request yet, or answered.
    Answers,
    /// It was asked for this request, and did not answer.
    Silent,
}

/// The time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Duration,
}

/// Decides about one request. `own` are the rates of its key, beside the account's. `book` is none where nothing counts quotas.
///
/// It looks at every limit before it takes of any, so a request that is refused changes nothing, not even for a moment.
/// Only one that was overtaken between its look and its take puts back what it took of other limits.
pub(crate) fn decide(
    account: &Account,
    own: Buckets<'_>,
    operation: &Operation,
    book: Option<&Arc<LeaseBook>>,
    store: Store,
    now: Now,
) -> Decision {
    loop {
        let missed = match take_all(account, own, operation, (book, store), now) {
            Ok(holds) => return Decision::Allowed(holds),
            Err(missed) => missed,
        };
        return match missed {
            Missed::Rate(position, check) => {
                refuse_for_rate(account, own, operation.rate_units(), (position, check), now)
            }
            Missed::Slot(limit) => refuse_for_concurrency(account, limit, now),
            Missed::Exceeded { quota, lease, need } => refuse_for_quota(account, quota, &lease, need, now),
            Missed::Silent => refuse_unanswered(account, now),
            Missed::Ask { lease, limit, need } => Decision::Ask { lease, limit, need },
            // Somebody else took the units, so this can't go on without others getting on.
            Missed::Overtaken => continue,
        };
    }
}

/// Why a request got nothing.
enum Missed<'a> {
    /// This rate limit has no room; those of the key come after those of the account.
    Rate(usize, Check),
    /// This concurrency limit has no room.
    Slot(&'a ConcurrencyLimit),
    /// This quota has no room.
    Exceeded {
        quota: &'a Quota,
        lease: Arc<Lease>,
        need: Units,
    },
    /// The store has to be asked.
    Ask {
        lease: Arc<Lease>,
        limit: Option<Units>,
        need: Units,
    },
    /// The store can't answer, and the allowance for that is used up.
    Silent,
    /// What was seen a moment ago is gone.
    Overtaken,
}

/// Takes what `operation` needs of every limit, or of none.
fn take_all<'a>(
    account: &'a Account,
    own: Buckets<'_>,
    operation: &Operation,
    (book, store): (Option<&Arc<LeaseBook>>, Store),
    now: Now,
) -> Result<Holds, Missed<'a>> {
    let policy = operation.when_unavailable();
    let (ticks, rate_units) = (nanos(now.monotonic), operation.rate_units());
    let violated = |(position, check)| Missed::Rate(position, check);
    let buckets = account.buckets().iter().chain(own.iter());
    let seen = bucket::look(buckets.clone(), ticks, rate_units).map_err(violated)?;
    account.slots().look().map_err(Missed::Slot)?;
    let mut holds = Holds {
        rate_units,
        ..Holds::default()
    };
    if let Some(book) = book {
        for (quota, counter) in account.quotas() {
            // What the operation does not name it does not take.
            if let Some(need) = operation.cost_in(&quota.meter) {
                let lease = counter.open(now.wall);
                let looked = look(quota, lease, need, book, ticks);
                let hold = match looked {
                    Err(Missed::Ask { lease, limit, need }) if policy != OnUnavailable::Closed => {
                        let asked = Missed::Ask { lease, limit, need };
                        fall_back(policy, store, quota, asked, book, ticks)?
                    }
                    looked => looked?,
                };
                holds.quotas.push(hold);
            }
        }
    }
    // Everything has room. From here on something is taken.
    holds.slots = account.slots().occupy().map_err(Missed::Slot)?;
    bucket::take(buckets, &seen, ticks, rate_units).map_err(violated)?;
    for (position, hold) in holds.quotas.iter().enumerate() {
        if !hold.leased {
            if hold.take_unleased() {
                continue;
            }
            holds.quotas.truncate(position);
            undo(account, own, &holds);
            return Err(Missed::Overtaken);
        }
        match hold.lease.window().take(hold.units, ticks) {
            Take::Taken => {}
            Take::TakenLow => renew(hold, book, ticks),
            Take::Short => {
                holds.quotas.truncate(position);
                undo(account, own, &holds);
                return Err(Missed::Overtaken);
            }
        }
    }
    Ok(holds)
}

/// Looks whether `quota` has room for `need` units, and answers how they are to be taken. Takes nothing.
fn look<'a>(
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
fn fall_back<'a>(
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

/// Leases more in the background for the quota that `hold` was taken of.
fn renew(hold: &Hold, book: Option<&Arc<LeaseBook>>, ticks: u64) {
    let limit = hold.lease_limit();
    if let (Some(book), Some(limit)) = (book, limit)
        && hold.lease.window().may_have_more(limit, ticks)
    {
        book.start_renewal(&hold.lease, Some(limit), Units::ZERO);
    }
}

/// Undoes what was taken for a request that is not served after all. Its slots are given back when `holds` is dropped.
pub(crate) fn undo(account: &Account, own: Buckets<'_>, holds: &Holds) {
    holds.iter().for_each(|hold| hold.put_back(hold.units));
    bucket::put_back(account.buckets().iter().chain(own.iter()), holds.rate_units);
}
