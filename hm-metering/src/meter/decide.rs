//! Taking a request's units from every limit, or from none.

use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::bucket::{self, Buckets};
use super::hold::{Hold, Holds};
use super::look::{fall_back, look};
use super::own::{Own, OwnQuotas};
use super::report::LimitReport;
use super::report::standing::{refuse_for_concurrency, refuse_for_quota, refuse_for_rate, refuse_unanswered};
use crate::on_unavailable::OnUnavailable;
use crate::operation::Operation;
use crate::plan::{ConcurrencyLimit, Quota};
use crate::quota::{Lease, LeaseBook, Take, nanos};
use crate::rate::gcra::Check;
use crate::refusal::Refusal;
use crate::time::Timestamp;
use crate::units::Units;

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

/// Decides about one request. `own` are the limits of its key, beside the account's. `book` is none where nothing counts quotas.
///
/// It looks at every limit before it takes of any, so a request that is refused changes nothing, not even for a moment.
/// Only one that was overtaken between its look and its take puts back what it took of other limits.
pub(crate) fn decide(
    account: &Account,
    own: Own<'_>,
    operation: &Operation,
    book: Option<&Arc<LeaseBook>>,
    store: Store,
    now: Now,
) -> Decision {
    let mut holds = Holds::default();
    loop {
        match take_all(account, own, operation, (book, store), now, &mut holds) {
            Ok(()) => return Decision::Allowed(holds),
            Err(missed) => {
                // Slots that were occupied are given back.
                holds = Holds::default();
                if !matches!(missed, Missed::Overtaken) {
                    return refuse(account, own.rates, operation, missed, now);
                }
                // Somebody else took the units, so this can't go on without others getting on.
            }
        }
    }
}

/// What a request is told that got nothing.
#[cold]
fn refuse(
    account: &Account,
    own: Buckets<'_>,
    operation: &Operation,
    missed: Missed<'_>,
    now: Now,
) -> Decision {
    match missed {
        Missed::Rate(position, check) => {
            refuse_for_rate(account, own, operation.rate_units(), (position, check), now)
        }
        Missed::Slot(limit) => refuse_for_concurrency(account, limit, now),
        Missed::Exceeded { quota, lease, need } => refuse_for_quota(account, quota, &lease, need, now),
        Missed::Silent | Missed::Overtaken => refuse_unanswered(account, now),
        Missed::Ask { lease, limit, need } => Decision::Ask { lease, limit, need },
    }
}

/// Why a request got nothing.
pub(super) enum Missed<'a> {
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

/// Takes what `operation` needs of every limit into `holds`, or of none.
#[inline]
fn take_all<'a>(
    account: &'a Account,
    own: Own<'a>,
    operation: &Operation,
    (book, store): (Option<&Arc<LeaseBook>>, Store),
    now: Now,
    holds: &mut Holds,
) -> Result<(), Missed<'a>> {
    let policy = operation.when_unavailable();
    let (ticks, rate_units) = (nanos(now.monotonic), operation.rate_units());
    let violated = |(position, check)| Missed::Rate(position, check);
    let buckets = [account.buckets(), own.rates];
    bucket::look(buckets, ticks, rate_units).map_err(violated)?;
    account.slots().look().map_err(Missed::Slot)?;
    holds.rate_units = rate_units;
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
        if let Some(quotas) = own.quotas {
            look_at_own(account, quotas, operation, (book, store), now, holds)?;
        }
    }
    // Everything has room. From here on something is taken.
    holds.slots = account.slots().occupy().map_err(Missed::Slot)?;
    bucket::take(buckets, ticks, rate_units).map_err(violated)?;
    for (position, hold) in holds.quotas.iter().enumerate() {
        if !hold.leased {
            if hold.take_unleased() {
                continue;
            }
            holds.quotas.truncate(position);
            undo(account, own.rates, holds);
            return Err(Missed::Overtaken);
        }
        match hold.lease.window().take(hold.units, ticks) {
            Take::Taken => {}
            Take::TakenLow => renew(hold, book, ticks),
            Take::Short => {
                holds.quotas.truncate(position);
                undo(account, own.rates, holds);
                return Err(Missed::Overtaken);
            }
        }
    }
    Ok(())
}

/// Looks at the quotas of the key itself, as at those of its account.
#[inline(never)]
fn look_at_own<'a>(
    account: &Account,
    quotas: &'a OwnQuotas,
    operation: &Operation,
    (book, store): (&Arc<LeaseBook>, Store),
    now: Now,
    holds: &mut Holds,
) -> Result<(), Missed<'a>> {
    let (policy, ticks) = (operation.when_unavailable(), nanos(now.monotonic));
    for (quota, counter) in quotas.iter() {
        if let Some(need) = operation.cost_in(&quota.meter) {
            let looked = look(quota, counter.open(account, now.wall), need, book, ticks);
            let hold = match looked {
                Err(asked @ Missed::Ask { .. }) if policy != OnUnavailable::Closed => {
                    fall_back(policy, store, quota, asked, book, ticks)?
                }
                looked => looked?,
            };
            holds.quotas.push(hold);
        }
    }
    Ok(())
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
