//! An account as the engine keeps it in memory: what its plan allows is shared, what moves is its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::bucket::Buckets;
use super::report::LimitShape;
use super::slots::{LimitedSlots, Slots};
use super::terms::{CountedTerms, Terms};
use crate::heap;
use crate::id::AccountId;
use crate::index::PLACE_BYTES;
use crate::period::Period;
use crate::plan::{Plan, Quota};
use crate::quota::{Counter, Lease, Leases, Owner, nanos};
use crate::sync::AtomicU64;
use crate::time::Timestamp;

/// Set in `asked_at` when the account changed. Times don't reach it.
const STALE: u64 = 1 << 63;

/// An account's limits and their state. Everything that a request looks at is in one allocation, but for the counters of its
/// quotas and what all accounts of the plan share.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) id: AccountId,
    terms: Arc<Terms>,
    pub(crate) anchor: Timestamp,
    rates: RateStates,
    slots: Slots,
    quotas: Counted,
    /// When the plan was last asked for, in nanoseconds of the monotonic clock, and [`STALE`]: entries that point to such an
    /// account are asked for again.
    asked_at: AtomicU64,
}

/// The states of an account's rates: here, as a rule.
#[derive(Debug)]
enum RateStates {
    Few([AtomicU64; 2]),
    Many(Box<[AtomicU64]>),
    /// Those of the account as it was before its plan changed and its rates did not.
    Earlier(Arc<Account>),
}

/// What an account has for each of its plan's quotas; none where nothing counts them.
#[derive(Debug)]
enum Counted {
    None,
    One([QuotaPlace; 1]),
    Many(Box<[QuotaPlace]>),
}

/// An account's place for one of its quotas.
#[derive(Default)]
struct QuotaPlace {
    counter: Counter,
    /// What answers say of it in the present period.
    shape: ArcSwapOption<LimitShape>,
}

/// The counter of one of an account's quotas.
#[derive(Clone, Copy)]
pub(crate) struct CounterOf<'a> {
    account: &'a Account,
    counted: &'a CountedTerms,
    position: usize,
    quota: &'a Quota,
    place: &'a QuotaPlace,
}

impl CounterOf<'_> {
    /// The window that `now` lies in, if it is the one in use.
    pub(crate) fn at(self, now: Timestamp) -> Option<Arc<Lease>> {
        self.place.counter.at(now)
    }

    /// The window that `now` lies in.
    pub(crate) fn open(self, now: Timestamp) -> Arc<Lease> {
        let counter = &self.place.counter;
        if let Some(lease) = counter.at(now) {
            return lease;
        }
        let CountedTerms { leases, meters } = self.counted;
        let of = (Owner::account(self.account.id), &meters[self.position]);
        let is_stale = self.account.is_stale();
        counter.open(leases, of, now, self.quota.period, self.account.anchor, is_stale)
    }
}

impl Account {
    /// `before` is what was known of the account: as long as its rates stay, their state does, and requests under way
    /// go on counting.
    pub(crate) fn new(
        id: AccountId,
        terms: Arc<Terms>,
        anchor: Timestamp,
        before: Option<&Arc<Self>>,
    ) -> Self {
        let plan = &terms.plan;
        let kept = before.filter(|before| before.terms.plan.rates == plan.rates);
        Self {
            id,
            anchor,
            rates: kept.map_or_else(|| RateStates::new(plan.rates.len()), RateStates::of),
            slots: Slots::new(&plan.concurrency, before.map(|before| before.slots())),
            quotas: terms
                .counted
                .as_ref()
                .map_or(Counted::None, |counted| Counted::new(counted.meters.len())),
            terms,
            asked_at: AtomicU64::new(0),
        }
    }

    /// What it takes of memory with its place in an index and its quotas' leases, about, and without what all accounts of its
    /// plan share.
    pub(crate) fn bytes(&self) -> usize {
        let quotas = self.quotas.get();
        let places = match &self.quotas {
            Counted::Many(places) => heap::list(places),
            Counted::None | Counted::One(_) => 0,
        };
        heap::shared(size_of::<Self>())
            + PLACE_BYTES
            + self.rates.bytes()
            + self.slots.bytes()
            + places
            + quotas.len() * Lease::BYTES
    }

    /// Whether its rates are those of `other`, which it keeps for that.
    pub(crate) fn has_rates_of(&self, other: *const Self) -> bool {
        matches!(&self.rates, RateStates::Earlier(earlier) if Arc::as_ptr(earlier) == other)
    }

    /// The leases of the process; none where nothing counts quotas.
    pub(crate) fn leases(&self) -> Option<&Arc<Leases>> {
        self.terms.counted.as_ref().map(|counted| &counted.leases)
    }

    /// The plan that holds.
    pub(crate) fn plan(&self) -> &Plan {
        &self.terms.plan
    }

    /// Its rate limits.
    pub(crate) fn buckets(&self) -> Buckets<'_> {
        Buckets::new(&self.terms.rates, self.rates.get())
    }

    /// Its concurrency limits.
    pub(crate) fn slots(&self) -> LimitedSlots<'_> {
        self.slots.under(&self.terms.plan.concurrency)
    }

    /// Its quotas, in the plan's order, as far as they are counted.
    pub(crate) fn quotas(&self) -> impl Iterator<Item = (&Quota, CounterOf<'_>)> {
        (0..self.quotas.get().len()).filter_map(|position| self.quota(position))
    }

    /// The quota at this position of the plan, if it is counted.
    pub(crate) fn quota(&self, position: usize) -> Option<(&Quota, CounterOf<'_>)> {
        let quota = self.terms.plan.quotas.get(position)?;
        let counter = CounterOf {
            account: self,
            counted: self.terms.counted.as_ref()?,
            position,
            quota,
            place: self.quotas.get().get(position)?,
        };
        Some((quota, counter))
    }

    /// Puts a lease out of use. Requests that come later ask for it anew.
    pub(crate) fn let_go(&self, lease: &Arc<Lease>) {
        for place in self.quotas.get() {
            place.counter.let_go(lease);
        }
    }

    /// Puts all leases out of use, as there is another account in place of this one.
    pub(crate) fn close_counters(&self) {
        self.quotas.get().iter().for_each(|place| place.counter.close());
    }

    /// The shape of answers that show this quota in this period, or no quota. Made when the period begins; otherwise one
    /// read.
    pub(crate) fn shape(&self, quota: Option<(usize, Period)>) -> Arc<LimitShape> {
        let (terms, id) = (&self.terms, self.id);
        let Some((position, period)) = quota else {
            return terms.plain_shape(id);
        };
        let place = self.quotas.get().get(position).map(|place| &place.shape);
        if let Some(shape) = place
            .and_then(ArcSwapOption::load_full)
            .filter(|shape| shape.shows(position, period))
        {
            return shape;
        }
        let shape = terms.shapes.get(id, &terms.plan, position, period);
        if let Some(place) = place {
            place.store(Some(Arc::clone(&shape)));
        }
        shape
    }

    /// Whether it says the same of an account as this plan and anchor.
    pub(crate) fn is_same(&self, plan: &Arc<Plan>, anchor: Timestamp) -> bool {
        let own = &self.terms.plan;
        (Arc::ptr_eq(own, plan) || **own == **plan) && self.anchor == anchor
    }

    pub(crate) fn asked_at(&self) -> Duration {
        Duration::from_nanos(self.asked_at.load(Ordering::Acquire) & !STALE)
    }

    /// Nothing is noted of one that is stale.
    pub(crate) fn note_asked(&self, at: Duration) {
        self.asked_at.fetch_max(nanos(at).min(!STALE), Ordering::AcqRel);
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.asked_at.load(Ordering::Acquire) & STALE != 0
    }

    pub(crate) fn set_stale(&self) {
        self.asked_at.fetch_max(STALE, Ordering::AcqRel);
    }
}

impl RateStates {
    fn new(rates: usize) -> Self {
        if rates <= 2 {
            Self::Few(Default::default())
        } else {
            Self::Many((0..rates).map(|_| AtomicU64::new(0)).collect())
        }
    }

    /// Those of an account that is replaced by one with the same rates.
    fn of(account: &Arc<Account>) -> Self {
        match &account.rates {
            Self::Earlier(first) => Self::Earlier(Arc::clone(first)),
            Self::Few(_) | Self::Many(_) => Self::Earlier(Arc::clone(account)),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Few(_) => 0,
            Self::Many(states) => heap::list(states),
            Self::Earlier(account) => heap::shared(size_of::<Account>()) + account.rates.bytes(),
        }
    }

    fn get(&self) -> &[AtomicU64] {
        match self {
            Self::Few(states) => states,
            Self::Many(states) => states,
            // It has its own, so this goes no deeper.
            Self::Earlier(account) => account.rates.get(),
        }
    }
}

impl Counted {
    fn new(quotas: usize) -> Self {
        match quotas {
            0 => Self::None,
            1 => Self::One(Default::default()),
            more => Self::Many((0..more).map(|_| QuotaPlace::default()).collect()),
        }
    }

    fn get(&self) -> &[QuotaPlace] {
        match self {
            Self::None => &[],
            Self::One(place) => place,
            Self::Many(places) => places,
        }
    }
}

impl std::fmt::Debug for QuotaPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuotaPlace").finish_non_exhaustive()
    }
}
