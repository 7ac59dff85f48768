//! Quotas: units of a meter per period, exact over any number of processes.
//!
//! Units are *leased*: debited from the store before they are spent, spent from memory without I/O, and *settled*
//! with the events that spent them. After each lease `used + leased ≤ limit` holds in the store, so whatever the
//! processes do, they can't admit more than the limit. What a handler charges beyond what its request took at the door
//! is counted all the same, as is what was used before a limit was lowered.

mod book;
mod counter;
mod lease;
mod leases;
mod looks;
#[cfg(test)]
mod races;
mod sizing;
mod tick;
mod window;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreResult;
use crate::id::{AccountId, KeyId, ReplicaId};
use crate::name::{MeterName, PlanId};
use crate::period::Period;
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::BatchId;

pub(crate) use book::LeaseBook;
pub(crate) use counter::Counter;
pub(crate) use lease::{Answer, Lease};
pub(crate) use leases::{Leases, Users};
pub(crate) use looks::Looks;
pub(crate) use sizing::{START, keep, low_water, next_size, want};
pub(crate) use window::{Exhaustion, Take, Window, nanos};

/// Who holds a lease: one run of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holder {
    /// The installation.
    pub replica: ReplicaId,
    /// Its run; another number at each start.
    pub epoch: u64,
}

/// Which counter: a meter of an account, or of one of its keys, in one period. There is one counter for one period start.
///
/// What a key takes counts in the account's counter, and in the key's as well if the key has a quota of its own. Neither is a
/// part of the other: stores keep them apart, and the engine leases from both.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuotaKey {
    /// Who is limited.
    pub account: AccountId,
    /// The account's key whose own quota it is; none for the account's quota. Of a key's meter the name has no more than
    /// [`KeyQuotas::METER_MAX`](crate::keys::KeyQuotas::METER_MAX) bytes.
    pub key: Option<KeyId>,
    /// What is counted.
    pub meter: MeterName,
    /// The period it is counted in.
    pub period: Period,
}

/// Whose counters: an account's, or those of one of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    pub(crate) account: AccountId,
    /// None for the account itself.
    pub(crate) key: Option<KeyId>,
}

impl Owner {
    /// The account itself.
    pub(crate) const fn account(account: AccountId) -> Self {
        Self { account, key: None }
    }
}

impl QuotaKey {
    /// Whose counter it is.
    pub(crate) const fn owner(&self) -> Owner {
        Owner {
            account: self.account,
            key: self.key,
        }
    }
}

/// A wish for units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Who asks.
    pub holder: Holder,
    /// The number of this operation. It rises with each lease and release of this holder on this counter; numbers may
    /// be left out.
    pub operation: u64,
    /// From which counter.
    pub key: QuotaKey,
    /// Where the limit holds for a window that moves with time, the window's start: units used or leased in any of the
    /// account's or key's counters of this meter whose period starts then or later count against it together. None for a
    /// counter that stands alone.
    pub since: Option<Timestamp>,
    /// What the holder's plan allows in the period, or in the window.
    pub limit: Units,
    /// How many units at most.
    pub want: Units,
    /// The time.
    pub now: Timestamp,
    /// Until when the holder will spend them. It extends what the holder has already. A lease does not end by itself then:
    /// a holder that died may have spent it. Only [`QuotaStore::close_earlier`] gives the rest back.
    pub until: Timestamp,
}

/// Which lease a spent unit came from. A holder's lease on a counter keeps its token until the lease is closed;
/// units spent from a closed lease are counted, but no longer taken out of what is leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FencingToken(pub u64);

/// The answer to a [`LeaseAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// What the holder may spend beyond what it was granted before; zero when nothing is left.
    pub granted: Units,
    /// The lease's token.
    pub token: FencingToken,
    /// The counter after the debit; with [`LeaseAsk::since`] the window's sum.
    pub balance: Balance,
    /// With [`LeaseAsk::since`], the start of the window's oldest counter with anything used or leased after the debit.
    pub oldest: Option<Timestamp>,
}

/// Unspent units to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Who gives them back.
    pub holder: Holder,
    /// The number of this operation; see [`LeaseAsk::operation`].
    pub operation: u64,
    /// To which counter.
    pub key: QuotaKey,
    /// The lease they are from.
    pub token: FencingToken,
    /// How many.
    pub units: Units,
    /// The time.
    pub now: Timestamp,
}

/// A counter's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Balance {
    /// Settled units.
    pub used: Units,
    /// Units that holders may have spent, but have not settled.
    pub leased: Units,
}

/// A window that moves with time: the counters that an account, or one of its keys, has of one meter from some moment on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuotaWindow {
    /// Who is limited.
    pub account: AccountId,
    /// The account's key whose own quota it is; none for the account's quota.
    pub key: Option<KeyId>,
    /// What is counted.
    pub meter: MeterName,
    /// Counters whose period starts at this moment or later belong to the window.
    pub since: Timestamp,
}

/// The state of a [`QuotaWindow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WindowState {
    /// The sum over its counters.
    pub balance: Balance,
    /// The start of its oldest counter with anything used or leased; none when there is nothing.
    pub oldest: Option<Timestamp>,
}

/// Units that were charged, to be counted as used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// On which counter.
    pub key: QuotaKey,
    /// The plan that held, for the period's summary.
    pub plan: PlanId,
    /// What it allowed; none for unlimited.
    pub limit: Option<Units>,
    /// The lease they were spent from; none where nothing was leased, as on unlimited plans.
    pub lease: Option<FencingToken>,
    /// How many.
    pub units: Units,
}

/// Which database a store writes to, so that the engine can see whether two of its stores are one.
///
/// Clones of a store have the same identity; two stores that can't share a transaction have different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreIdentity(pub uuid::Uuid);

/// Keeps the counters of quotas.
///
/// Rules, each tested by the conformance suite:
///
/// * `used + leased ≤ limit` holds after every lease, whatever runs at the same time.
/// * For a window that moves with time it holds for the sum over its counters, also when leases in different counters of
///   the window run at the same time, as they do when clocks disagree about the present sub-period.
/// * Every operation can be repeated after an unknown outcome, with the same effect as once.
/// * Counters come into being by themselves, with nothing used.
/// * Counters of different accounts, keys, meters and period starts don't touch each other, and neither do those of an account
///   and its keys.
/// * Time is an argument; dropping a future leaves the store before or after the whole operation.
#[async_trait]
pub trait QuotaStore: Send + Sync + 'static {
    /// Debits as many units as are left of the limit, at most `ask.want`, in one atomic step. Less than wanted, down to nothing, is
    /// a grant too, not an error. Repeating the holder's last operation grants what it granted the first time, under the
    /// same token, and debits nothing; the balance is the counter's state now.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) for an operation number below the last one applied.
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant>;

    /// Gives unspent units back, so that others can lease them, and answers the counter's state. Units of a lease that
    /// was closed meanwhile are not given back twice: such a release changes nothing. Repeating the holder's last
    /// operation changes nothing.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreErrorKind::Conflict) for an operation number below the last one applied;
    /// [`Invalid`](crate::StoreErrorKind::Invalid) for more units than the lease still has.
    async fn release(&self, release: &Release) -> StoreResult<Balance>;

    /// Counts charged units as used, all of them or none, and takes those that came from an open lease out of what is
    /// leased. More than the lease has is counted all the same: it was spent. The same batch id a second time changes
    /// nothing. One counter may be named several times.
    ///
    /// # Errors
    /// When the store can't be reached; the call can be repeated.
    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> StoreResult<()>;

    /// The counters' states, in the order asked; counters that don't exist yet have nothing used.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>>;

    /// The states of windows that move with time, in the order asked; see [`LeaseAsk::since`]. Like
    /// [`QuotaStore::balances`], it may be a moment old.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>>;

    /// Closes every lease that other runs of `holder.replica` left behind, gives what they did not settle back, and
    /// answers how many units that were. Call it only when those runs are over and everything they spent has been
    /// settled, for example when their journal has been replayed.
    ///
    /// # Errors
    /// When the store can't be reached; the call can be repeated.
    async fn close_earlier(&self, holder: Holder, now: Timestamp) -> StoreResult<Units>;

    /// The sink that applies a batch's settlements to these counters in its own transaction. The engine then leaves
    /// out [`QuotaStore::settle`]. None when there is no such sink.
    fn settled_by(&self) -> Option<StoreIdentity> {
        None
    }
}
