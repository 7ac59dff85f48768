//! Quota counters and their leases.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::MemoryStore;
use super::batches::Batches;
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::id::{AccountId, KeyId};
use crate::name::MeterName;
use crate::quota::{
    Balance, FencingToken, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaStore, QuotaWindow, Release,
    Settlement, StoreIdentity, WindowState,
};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::BatchId;

#[derive(Default)]
pub(super) struct Counters {
    counters: BTreeMap<CounterId, Counter>,
    settled: Batches<()>,
    tokens: u64,
}

/// There is one counter for one period start, wherever the period ends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct CounterId {
    account: AccountId,
    key: Option<KeyId>,
    meter: MeterName,
    start: Timestamp,
}

impl From<&QuotaKey> for CounterId {
    fn from(key: &QuotaKey) -> Self {
        Self {
            account: key.account,
            key: key.key,
            meter: key.meter.clone(),
            start: key.period.start,
        }
    }
}

#[derive(Default)]
struct Counter {
    balance: Balance,
    leases: HashMap<Holder, Lease>,
}

/// What a holder has of a counter. It stays when it is closed, for its operation number.
struct Lease {
    token: FencingToken,
    open: bool,
    /// Granted, neither given back nor settled.
    left: Units,
    /// The last operation applied.
    operation: u64,
    /// What the last operation granted; none when it was a release.
    granted: Option<Units>,
}

impl Lease {
    fn close(&mut self) -> Units {
        self.open = false;
        std::mem::take(&mut self.left)
    }
}

impl Counters {
    fn lease(&mut self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        let refused = |kind| Err(StoreError::new(kind, "lease quota"));
        if ask.operation == 0 {
            return refused(StoreErrorKind::Invalid);
        }
        let id = CounterId::from(&ask.key);
        let state = self.state_of(&id, ask.since);
        let counter = self.counters.entry(id.clone()).or_default();
        let lease = counter.leases.entry(ask.holder).or_insert_with(|| Lease {
            token: FencingToken(0),
            open: false,
            left: Units::ZERO,
            operation: 0,
            granted: None,
        });
        if ask.operation < lease.operation {
            return refused(StoreErrorKind::Conflict);
        }
        if ask.operation == lease.operation {
            let Some(granted) = lease.granted else {
                return refused(StoreErrorKind::Conflict);
            };
            return Ok(LeaseGrant {
                granted,
                token: lease.token,
                balance: state.balance,
                oldest: state.oldest,
            });
        }
        if !lease.open {
            self.tokens += 1;
            lease.token = FencingToken(self.tokens);
            lease.open = true;
        }
        let free = ask.limit.minus(state.balance.used.plus(state.balance.leased));
        let granted = ask.want.min(free);
        counter.balance.leased = counter.balance.leased.plus(granted);
        lease.left = lease.left.plus(granted);
        lease.operation = ask.operation;
        lease.granted = Some(granted);
        let token = lease.token;
        let state = self.state_of(&id, ask.since);
        Ok(LeaseGrant {
            granted,
            token,
            balance: state.balance,
            oldest: state.oldest,
        })
    }

    /// What counts against a limit: the counter alone, or the window from `since` on.
    fn state_of(&self, id: &CounterId, since: Option<Timestamp>) -> WindowState {
        match since {
            None => WindowState {
                balance: self
                    .counters
                    .get(id)
                    .map_or_else(Balance::default, |counter| counter.balance),
                oldest: None,
            },
            Some(since) => self.window((id.account, id.key), &id.meter, since),
        }
    }

    fn window(
        &self,
        (account, key): (AccountId, Option<KeyId>),
        meter: &MeterName,
        since: Timestamp,
    ) -> WindowState {
        let first = CounterId {
            account,
            key,
            meter: meter.clone(),
            start: since,
        };
        let mut state = WindowState::default();
        for (id, counter) in self.counters.range(first..) {
            if id.account != account || id.key != key || id.meter != *meter {
                break;
            }
            let Balance { used, leased } = counter.balance;
            state.balance.used = state.balance.used.plus(used);
            state.balance.leased = state.balance.leased.plus(leased);
            if state.oldest.is_none() && !used.plus(leased).is_zero() {
                state.oldest = Some(id.start);
            }
        }
        state
    }

    fn release(&mut self, release: &Release) -> StoreResult<Balance> {
        let refused = |kind| Err(StoreError::new(kind, "release quota"));
        let Some(counter) = self.counters.get_mut(&CounterId::from(&release.key)) else {
            return Ok(Balance::default());
        };
        let Some(lease) = counter.leases.get_mut(&release.holder) else {
            return Ok(counter.balance);
        };
        if release.operation < lease.operation {
            return refused(StoreErrorKind::Conflict);
        }
        if release.operation == lease.operation || !lease.open || release.token != lease.token {
            return Ok(counter.balance);
        }
        if release.units > lease.left {
            return refused(StoreErrorKind::Invalid);
        }
        lease.left = lease.left.minus(release.units);
        lease.operation = release.operation;
        lease.granted = None;
        counter.balance.leased = counter.balance.leased.minus(release.units);
        Ok(counter.balance)
    }

    /// Applies a batch's settlements, once.
    pub(super) fn settle(&mut self, holder: Holder, batch: BatchId, settlements: &[Settlement]) {
        if !self.settled.insert(batch, ()) {
            return;
        }
        for settlement in settlements {
            let counter = self.counters.entry(CounterId::from(&settlement.key)).or_default();
            let balance = &mut counter.balance;
            balance.used = balance.used.plus(settlement.units);
            let lease = counter
                .leases
                .get_mut(&holder)
                .filter(|lease| lease.open && Some(lease.token) == settlement.lease);
            if let Some(lease) = lease {
                let from_lease = settlement.units.min(lease.left);
                lease.left = lease.left.minus(from_lease);
                balance.leased = balance.leased.minus(from_lease);
            }
        }
    }

    /// The counters of which something is leased.
    #[cfg(feature = "testing")]
    pub(super) fn leased(&self) -> Vec<(MeterName, Units)> {
        let leased = self.counters.iter();
        leased
            .map(|(id, counter)| (id.meter.clone(), counter.balance.leased))
            .filter(|(_, units)| !units.is_zero())
            .collect()
    }

    fn balance(&self, key: &QuotaKey) -> Balance {
        self.counters
            .get(&CounterId::from(key))
            .map_or_else(Balance::default, |counter| counter.balance)
    }

    fn close_earlier(&mut self, holder: Holder) -> Units {
        let mut given_back = Units::ZERO;
        for counter in self.counters.values_mut() {
            for (other, lease) in &mut counter.leases {
                if other.replica == holder.replica && other.epoch != holder.epoch {
                    let units = lease.close();
                    counter.balance.leased = counter.balance.leased.minus(units);
                    given_back = given_back.plus(units);
                }
            }
        }
        given_back
    }
}

#[async_trait]
impl QuotaStore for MemoryStore {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        self.lock().quota.lease(ask)
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        self.lock().quota.release(release)
    }

    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        _now: Timestamp,
    ) -> StoreResult<()> {
        self.lock().quota.settle(holder, batch, settlements);
        Ok(())
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        let state = self.lock();
        Ok(keys.iter().map(|key| state.quota.balance(key)).collect())
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        let state = self.lock();
        let window = |window: &QuotaWindow| {
            let owner = (window.account, window.key);
            state.quota.window(owner, &window.meter, window.since)
        };
        Ok(windows.iter().map(window).collect())
    }

    async fn close_earlier(&self, holder: Holder, _now: Timestamp) -> StoreResult<Units> {
        Ok(self.lock().quota.close_earlier(holder))
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        Some(self.identity)
    }
}
