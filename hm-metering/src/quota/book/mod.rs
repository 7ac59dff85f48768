//! The leases that this process holds, and the tasks that change them.

mod give_back;
mod tend;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Instrument;

use super::lease::{Busy, Operation, Waiting};
use super::tick::Tick;
use super::{
    Answer, Holder, Lease, LeaseAsk, LeaseGrant, Leases, QuotaKey, QuotaStore, Release, Settlement, Users,
    Window, low_water, nanos, next_size, want,
};
use crate::error::{StoreErrorKind, StoreResult};
use crate::measures::Measures;
use crate::time::Clock;
use crate::units::Units;

/// For how long leased units may be spent unless they are leased anew.
const LEASE_TIME: Duration = Duration::from_secs(60);
/// When the store has nothing left, it is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// All leases of this process.
pub(crate) struct LeaseBook {
    store: Arc<dyn QuotaStore>,
    holder: Holder,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    store_timeout: Duration,
    measures: Measures,
    /// Asked when a period begins for an account and for charges that are settled, never on the warm path.
    leases: Arc<Leases>,
    users: OnceLock<Weak<dyn Users>>,
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
        Arc::new(Self {
            leases: Arc::default(),
            users: OnceLock::new(),
            store,
            holder,
            clock,
            runtime,
            store_timeout,
            measures,
            operations: AtomicU64::new(1),
        })
    }

    /// All leases, for accounts to find theirs.
    pub(crate) const fn leases(&self) -> &Arc<Leases> {
        &self.leases
    }

    /// Says where accounts have their leases, once. Leases that accounts can't be made to let go stay for as long as these.
    pub(crate) fn set_users(&self, users: Weak<dyn Users>) {
        // There is one such place; a second one would not be asked.
        let _ = self.users.set(users);
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
        if let Some(lease) = self.leases.get(key.owner(), &key.meter, key.period.start) {
            change(&lease.window);
        }
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
        if lease.window.busy.swap(true, Ordering::AcqRel) {
            return;
        }
        let busy = Busy(Arc::clone(lease));
        let work = work(Arc::clone(self), Arc::clone(lease));
        let window = lease.window();
        let span =
            tracing::debug_span!("lease", account.id = %window.account(), meter.name = %window.meter());
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
            let lasted = state.granted_at.map(|at| (state.size(), at.age(asked_at)));
            // Only a lease that was used up says something about the size.
            if lease.window.remaining().get() <= low_water(state.size()) || lasted.is_none() {
                state.set_size(next_size(lasted));
            }
            LeaseAsk {
                holder: self.holder,
                operation: self.next_operation(),
                key: lease.window.key(),
                since: lease.window.since(),
                limit,
                want: want(state.size(), need, state.waiting(), state.left()),
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
            state.set_left(Some(
                ask.limit.minus(grant.balance.used).minus(grant.balance.leased),
            ));
            state.granted_at = Some(Tick::at(now));
            state.bound_size(granted);
            // Units that are too few for those who asked are no reason to keep them from others.
            if !granted.is_zero() && is_enough {
                state.note_active(now);
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
        let now = self.clock.monotonic();
        lease.with_state(|state| state.note_active(now));
        Answer::Granted
    }

    /// Repeats an operation whose outcome is not known. Answers whether the way is free for another.
    async fn resolve_pending(&self, lease: &Lease) -> bool {
        match lease.with_state(|state| state.pending().cloned()) {
            None => true,
            Some(operation) => {
                match operation {
                    Operation::Lease(ask, asked_at) => {
                        self.apply_lease(lease, &ask, asked_at, Units::ONE).await;
                    }
                    Operation::Release(release) => {
                        self.apply_release(lease, &release).await;
                    }
                }
                lease.with_state(|state| state.pending().is_none())
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
        lease.with_state(|state| state.set_pending(repeat.then_some(operation)));
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
            lease.with_state(|state| state.bound_size(keep));
        }
        let release = Release {
            holder: self.holder,
            operation: self.next_operation(),
            key: lease.window.key(),
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
                    state.set_left(None);
                });
                true
            }
            None => false,
        }
    }

    fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for LeaseBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseBook")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}
