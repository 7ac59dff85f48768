//! The leases that this process holds, and the tasks that renew, release and refresh them.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::Instrument;

use super::counters::Counters;
use super::lease::{Busy, Operation, Waiting};
use super::{
    Answer, Counter, CounterId, Holder, Lease, LeaseAsk, LeaseGrant, Looks, QuotaKey, QuotaStore, Release,
    START, Settlement, Window, keep, low_water, nanos, next_size, want,
};
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::id::AccountId;
use crate::measures::Measures;
use crate::name::MeterName;
use crate::time::{Clock, Timestamp};
use crate::units::Units;

/// For how long leased units may be spent unless they are leased anew.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// A lease is given back when nothing was taken from it for this long.
const IDLE: Duration = Duration::from_secs(5);
/// A balance is kept fresh for this long after the last request.
const FRESH: Duration = Duration::from_secs(60);
/// A counter that has nothing to give back is looked after this seldom at the most.
const SELDOM: Duration = Duration::from_secs(5);
/// When the store has nothing left, it is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How many counters are emptied at a time when everything is given back.
const AT_A_TIME: usize = 16;
/// How many balances are asked for at once.
const BALANCES: usize = 500;

/// All counters of this process.
pub(crate) struct LeaseBook {
    store: Arc<dyn QuotaStore>,
    holder: Holder,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    store_timeout: Duration,
    measures: Measures,
    /// Asked for accounts that are filled and for charges that are settled, never on the warm path.
    counters: Mutex<Counters>,
    looks: Arc<Looks>,
    operations: AtomicU64,
}

impl LeaseBook {
    pub(crate) fn new(
        store: Arc<dyn QuotaStore>,
        holder: Holder,
        clock: Arc<dyn Clock>,
        runtime: Handle,
        store_timeout: Duration,
        measures: Measures,
    ) -> Arc<Self> {
        let looks = Arc::default();
        Arc::new(Self {
            counters: Mutex::new(Counters::new(Arc::downgrade(&looks))),
            looks,
            store,
            holder,
            clock,
            runtime,
            store_timeout,
            measures,
            operations: AtomicU64::new(1),
        })
    }

    pub(crate) fn counter(&self, account: AccountId, meter: &MeterName) -> Arc<Counter> {
        let meter = meter.clone();
        self.counters().get_or_insert(CounterId { account, meter })
    }

    /// Notes a settlement that is about to be sent.
    pub(crate) fn note_submitted(&self, settlement: &Settlement) {
        self.with_window(&settlement.key, |window| window.note_submitted(settlement.units));
    }

    /// The reverse, for one that is not in the store and never will be under that batch.
    pub(crate) fn unnote_submitted(&self, settlement: &Settlement) {
        self.with_window(&settlement.key, |window| {
            window.unnote_submitted(settlement.units)
        });
    }

    /// Notes that a settlement is in the store.
    pub(crate) fn note_recorded(&self, settlement: &Settlement) {
        let is_debt = settlement.lease.is_none() && settlement.limit.is_some();
        self.with_window(&settlement.key, |window| {
            window.note_recorded(settlement.units, is_debt)
        });
    }

    fn with_window(&self, key: &QuotaKey, change: impl FnOnce(&Window)) {
        let id = CounterId {
            account: key.account,
            meter: key.meter.clone(),
        };
        let counter = self.counters().get(&id);
        if let Some(lease) = counter.and_then(|counter| counter.lease_from(key.period.start)) {
            change(&lease.window);
        }
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an answer of the store about `lease`, which a task of the book's own gets. Dropping the future gives up
    /// waiting and nothing else.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        lease: &Arc<Lease>,
        limit: Option<Units>,
        need: Units,
        at_most: Duration,
    ) -> Answer {
        let mut answer = lease.next_answer();
        let _waiting = Waiting::new(lease, need);
        self.start_renewal(lease, limit, need);
        match timeout(at_most, answer.changed()).await {
            Ok(Ok(())) => *answer.borrow(),
            Ok(Err(_)) | Err(_) => Answer::Failed,
        }
    }

    /// Leases more for `lease` in the background, unless somebody does already.
    pub(crate) fn start_renewal(self: &Arc<Self>, lease: &Arc<Lease>, limit: Option<Units>, need: Units) {
        self.start(lease, move |book, lease| async move {
            match limit {
                Some(limit) => book.lease_more(&lease, limit, need).await,
                None => book.ask_balance(&lease).await,
            }
        });
    }

    fn start<F>(self: &Arc<Self>, lease: &Arc<Lease>, work: impl FnOnce(Arc<Self>, Arc<Lease>) -> F)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        if lease.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let busy = Busy(Arc::clone(lease));
        let work = work(Arc::clone(self), Arc::clone(lease));
        let key = lease.window.key();
        let span = tracing::debug_span!("lease", account.id = %key.account, meter.name = %key.meter);
        let working = async move {
            let answer = work.await;
            let lease = Arc::clone(&busy.0);
            // First free the way for the next operation, then wake those who may want to start it.
            drop(busy);
            lease.tell(answer);
        };
        self.runtime.spawn(working.instrument(span));
    }

    async fn lease_more(&self, lease: &Lease, limit: Units, need: Units) -> Answer {
        if !self.resolve_pending(lease).await {
            return Answer::Failed;
        }
        let asked_at = self.clock.monotonic();
        let ask = lease.with_state(|state| {
            let lasted = state.granted_at.map(|at| (state.size, since(at.get(), asked_at)));
            // Only a lease that was used up says something about the size.
            if lease.window.remaining().get() <= low_water(state.size) || lasted.is_none() {
                state.size = next_size(lasted);
            }
            let waited_for = Units::new(lease.waiting.load(Ordering::Acquire));
            LeaseAsk {
                holder: self.holder,
                operation: self.next_operation(),
                key: lease.window.key().clone(),
                since: lease.window.since(),
                limit,
                want: want(state.size, need, waited_for, state.left),
                now: self.clock.now(),
                until: self.clock.now().plus(LEASE_TIME),
            }
        });
        self.apply_lease(lease, &ask, asked_at, need).await
    }

    async fn apply_lease(&self, lease: &Lease, ask: &LeaseAsk, asked_at: Duration, need: Units) -> Answer {
        match self
            .in_time(
                lease,
                Operation::Lease(ask.clone(), asked_at),
                self.store.lease(ask),
            )
            .await
        {
            Some(grant) => {
                let is_empty = grant.granted.is_zero();
                self.measures
                    .leased(if is_empty { "exhausted" } else { "granted" });
                self.note_grant(lease, ask, &grant, asked_at, need)
            }
            None => {
                self.measures.leased("failed");
                // Requests whose units are at hand don't ask a store in trouble, each for itself.
                lease.window.set_rest(nanos(self.clock.monotonic() + ASK_AGAIN));
                Answer::Failed
            }
        }
    }

    fn note_grant(
        &self,
        lease: &Lease,
        ask: &LeaseAsk,
        grant: &LeaseGrant,
        asked_at: Duration,
        need: Units,
    ) -> Answer {
        lease.window.clear_rest();
        lease.window.learn(grant.balance);
        lease.window.learn_oldest(grant.oldest);
        let now = self.clock.monotonic();
        let granted = grant.granted;
        lease.set_token(grant.token);
        // A tenth earlier than the store was told, for clocks that run at different speeds.
        let until = nanos(asked_at + LEASE_TIME - LEASE_TIME / 10);
        let before = lease.window.remaining();
        let kept = lease.window.grant(granted, until, low_water(granted.get()));
        let is_enough = before.plus(granted).minus(kept) >= need.max(Units::ONE);
        lease.with_state(|state| {
            state.left = Some(ask.limit.minus(grant.balance.used).minus(grant.balance.leased));
            state.granted_at = NonZeroU64::new(nanos(now).max(1));
            // A wish that was cut says nothing about the next one.
            state.size = state.size.min(granted.get().max(START));
            // Units that are too few for those who asked are no reason to keep them from others.
            if !granted.is_zero() && is_enough {
                state.active_at = nanos(now);
            }
        });
        if granted.is_zero() {
            lease.window.set_exhausted(ask.limit, nanos(now + ASK_AGAIN));
            if lease.window.remaining() < need.max(Units::ONE) {
                return Answer::Exhausted;
            }
        } else {
            lease.window.clear_exhausted();
        }
        Answer::Granted
    }

    async fn ask_balance(&self, lease: &Arc<Lease>) -> Answer {
        if !self.learn_balances(std::slice::from_ref(lease)).await {
            lease.window.set_rest(nanos(self.clock.monotonic() + ASK_AGAIN));
            return Answer::Failed;
        }
        lease.window.clear_rest();
        let now = nanos(self.clock.monotonic());
        lease.with_state(|state| state.active_at = now);
        Answer::Granted
    }

    /// Repeats an operation whose outcome is not known. Answers whether the way is free for another.
    async fn resolve_pending(&self, lease: &Lease) -> bool {
        match lease.with_state(|state| state.pending.clone()) {
            None => true,
            Some(operation) => {
                match *operation {
                    Operation::Lease(ask, asked_at) => {
                        self.apply_lease(lease, &ask, asked_at, Units::ONE).await;
                    }
                    Operation::Release(release) => {
                        self.apply_release(lease, &release).await;
                    }
                }
                lease.with_state(|state| state.pending.is_none())
            }
        }
    }

    /// Runs `call` with a deadline, and remembers `operation` for repetition if its outcome stays unknown.
    async fn in_time<T>(
        &self,
        lease: &Lease,
        operation: Operation,
        call: impl Future<Output = StoreResult<T>> + Send,
    ) -> Option<T> {
        let name = operation.name();
        let outcome = timeout(self.store_timeout, call).await;
        let (answer, repeat) = match outcome {
            Ok(Ok(answer)) => (Some(answer), false),
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a quota's lease can't be changed"
                );
                let is_final = matches!(error.kind(), StoreErrorKind::Conflict | StoreErrorKind::Invalid);
                (None, !is_final)
            }
            Err(_) => {
                tracing::warn!("a quota's lease can't be changed: no answer in time");
                (None, true)
            }
        };
        if answer.is_none() {
            self.measures.store_failed(name);
        }
        lease.with_state(|state| state.pending = repeat.then(|| Box::new(operation)));
        answer
    }

    /// Gives back what is left beyond `keep`, in the background.
    fn start_release(self: &Arc<Self>, lease: &Arc<Lease>, keep: Units) {
        self.start(lease, move |book, lease| async move {
            book.give_back(&lease, keep).await;
            Answer::Granted
        });
    }

    /// Gives back what is left beyond `keep`, and what was kept back for debts that are settled. Answers whether the store has
    /// got it.
    async fn give_back(&self, lease: &Lease, keep: Units) -> bool {
        if !self.resolve_pending(lease).await {
            return false;
        }
        let Some(token) = lease.token() else {
            return true;
        };
        let drained = lease.window.drain(keep);
        let units = drained.plus(lease.window.drain_withheld());
        if units.is_zero() {
            return true;
        }
        if !drained.is_zero() {
            // What is kept is enough; it must not look like the rest of something larger.
            lease.window.set_low_water(low_water(keep.get()));
            lease.with_state(|state| state.size = state.size.min(keep.get().max(START)));
        }
        let release = Release {
            holder: self.holder,
            operation: self.next_operation(),
            key: lease.window.key().clone(),
            token,
            units,
            now: self.clock.now(),
        };
        self.apply_release(lease, &release).await
    }

    async fn apply_release(&self, lease: &Lease, release: &Release) -> bool {
        let call = self.store.release(release);
        match self
            .in_time(lease, Operation::Release(release.clone()), call)
            .await
        {
            Some(balance) => {
                lease.window.learn(balance);
                // What was given back can be had again.
                lease.window.clear_exhausted();
                lease.with_state(|state| {
                    state.granted_at = None;
                    state.left = None;
                });
                true
            }
            None => false,
        }
    }

    fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed)
    }

    /// Looks after all leases at each `pace`, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>, pace: Duration) {
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.tend().await;
        }
    }

    /// Looks after the leases whose time it is: gives back what is idle or over, learns balances, and forgets what is not
    /// used. Those in use are looked after each time.
    pub(crate) async fn tend(self: &Arc<Self>) {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let mut fresh = Vec::new();
        for counter in self.looks.take_due(nanos(now)) {
            let mut next = Duration::MAX;
            for lease in counter.leases() {
                if self.tend_one(&lease, now, wall) {
                    fresh.push(Arc::clone(&lease));
                }
                next = next.min(next_look(&lease, now));
            }
            let is_done = |lease: &Lease| {
                is_over(lease, wall) || (idle(lease, now) >= FRESH && !lease.window.has_spent_allowance())
            };
            if counter.sweep(is_done) {
                self.looks.add(counter, nanos(next));
            }
        }
        for some in fresh.chunks(BALANCES) {
            self.learn_balances(some).await;
        }
    }

    /// Answers whether the balance should be learnt anew.
    fn tend_one(self: &Arc<Self>, lease: &Arc<Lease>, now: Duration, wall: Timestamp) -> bool {
        let taken = lease.window.taken();
        let (recent, pending, leased_for) = lease.with_state(|state| {
            let spent = taken.saturating_sub(state.taken_before);
            state.recent = spent.max(state.recent / 2);
            if state.taken_before != taken {
                state.taken_before = taken;
                state.active_at = nanos(now);
            }
            let leased_for = state.granted_at.map_or(Duration::MAX, |at| since(at.get(), now));
            (state.recent, state.pending.is_some(), leased_for)
        });
        let (idle, over) = (idle(lease, now), is_over(lease, wall));
        let keep = if over || idle >= IDLE {
            Some(Units::ZERO)
        } else {
            keep(lease.window.remaining(), recent).filter(|_| leased_for >= IDLE)
        };
        match keep {
            Some(keep) if pending || lease.window.remaining() > keep => self.start_release(lease, keep),
            _ if !lease.window.free_withheld().is_zero() => self.start_release(lease, Units::MAX),
            _ => {}
        }
        if !over && idle >= FRESH {
            lease.window.forget_balance();
        }
        !over && idle < FRESH && lease.window.is_known()
    }

    /// Answers whether the store told.
    async fn learn_balances(&self, leases: &[Arc<Lease>]) -> bool {
        let told = timeout(self.store_timeout, self.read_balances(leases)).await;
        let told = told.unwrap_or_else(|elapsed| {
            Err(StoreError::new(StoreErrorKind::Timeout, "wait for a store").with_source(elapsed))
        });
        if let Err(error) = &told {
            tracing::warn!(error = error as &dyn std::error::Error, "balances can't be read");
            self.measures.store_failed("balances");
        }
        told.is_ok()
    }

    async fn read_balances(&self, leases: &[Arc<Lease>]) -> StoreResult<()> {
        let (alone, moving): (Vec<_>, Vec<_>) =
            leases.iter().partition(|lease| lease.window.since().is_none());
        if !alone.is_empty() {
            let keys: Vec<QuotaKey> = alone.iter().map(|lease| lease.window.key().clone()).collect();
            for (lease, balance) in alone.iter().zip(self.store.balances(&keys).await?) {
                lease.window.learn(balance);
            }
        }
        if !moving.is_empty() {
            let windows: Vec<_> = moving.iter().filter_map(|lease| lease.quota_window()).collect();
            for (lease, state) in moving.iter().zip(self.store.windows(&windows).await?) {
                lease.window.learn(state.balance);
                lease.window.learn_oldest(state.oldest);
            }
        }
        Ok(())
    }

    /// Gives everything back, several counters at a time. Answers how many could not be emptied.
    pub(crate) async fn give_all_back(self: &Arc<Self>) -> usize {
        let mut left = 0;
        let mut tasks = JoinSet::new();
        for lease in self.all().iter().flat_map(|counter| counter.leases()) {
            if tasks.len() >= AT_A_TIME {
                left += count_left(tasks.join_next().await.as_ref());
            }
            let book = Arc::clone(self);
            tasks.spawn_on(async move { book.give_back_alone(&lease).await }, &self.runtime);
        }
        while let Some(ended) = tasks.join_next().await {
            left += count_left(Some(&ended));
        }
        left
    }

    /// Gives back once the operation that may be under way is over; what that one leased goes back too.
    async fn give_back_alone(&self, lease: &Arc<Lease>) -> bool {
        loop {
            // Asked for before the look whether one is under way, so that the end of that one is heard.
            let mut answer = lease.next_answer();
            if !lease.busy.swap(true, Ordering::AcqRel) {
                break;
            }
            if timeout(self.store_timeout * 2, answer.changed()).await.is_err() {
                return false;
            }
        }
        let _busy = Busy(Arc::clone(lease));
        self.give_back(lease, Units::ZERO).await
    }

    fn all(&self) -> Vec<Arc<Counter>> {
        self.counters().all()
    }
}

impl fmt::Debug for LeaseBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseBook")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

fn is_over(lease: &Lease, wall: Timestamp) -> bool {
    lease.window.key().period.end <= wall
}

/// For how long nothing was taken, as far as was looked.
fn idle(lease: &Lease, now: Duration) -> Duration {
    since(lease.with_state(|state| state.active_at), now)
}

/// When to look again. Whatever has something to give back is looked after each time; the rest the more seldom, the longer
/// it is idle, up to [`SELDOM`].
fn next_look(lease: &Lease, now: Duration) -> Duration {
    if lease.has_to_give_back() {
        now
    } else {
        now + (idle(lease, now) / 2).min(SELDOM)
    }
}

/// The time from a moment in nanoseconds of the monotonic clock until `now`.
fn since(at: u64, now: Duration) -> Duration {
    now.saturating_sub(Duration::from_nanos(at))
}

fn count_left(ended: Option<&Result<bool, JoinError>>) -> usize {
    usize::from(!matches!(ended, Some(Ok(true)) | None))
}
