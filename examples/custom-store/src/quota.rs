//! Quotas: each call reads a counter, changes it by the rules of `counter.rs`, and writes it back in one transaction.

use async_trait::async_trait;
use hm_metering::error::StoreResult;
use hm_metering::quota::{
    Balance, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaStore, QuotaWindow, Release, Settlement,
    StoreIdentity, WindowState,
};
use hm_metering::usage::BatchId;
use hm_metering::{AccountId, KeyId, StoreErrorKind, Timestamp, Units};
use redb::{ReadableTable, WriteTransaction};

use crate::counter::Counter;
use crate::{COUNTERS, Failure, FileStore, SETTLED};

/// Applies a batch's settlements, unless they were applied before.
pub(crate) fn settle_once(
    transaction: &WriteTransaction,
    batch: BatchId,
    settlements: &[Settlement],
) -> Result<(), Failure> {
    let repeated = transaction
        .open_table(SETTLED)?
        .insert(&*batch_name(batch), ())?
        .is_some();
    if !repeated {
        for settlement in settlements {
            change(transaction, &settlement.key, |counter| {
                counter.settle(batch.holder(), settlement);
                Ok(())
            })?;
        }
    }
    Ok(())
}

pub(crate) fn batch_name(batch: BatchId) -> String {
    format!("{}/{}/{}", batch.replica, batch.epoch, batch.number)
}

/// There is one counter for one period start, wherever the period ends.
fn counter_name(key: &QuotaKey) -> String {
    let owner = owner(key.account, key.key);
    format!("{owner}/{}/{}", key.meter, key.period.start.as_micros())
}

/// Whose counters these are: an account's, or one of its keys'.
fn owner(account: AccountId, key: Option<KeyId>) -> String {
    match key {
        None => account.to_string(),
        Some(key) => format!("{account}#{key}"),
    }
}

/// Changes one counter, which comes into being by itself.
fn change<T>(
    transaction: &WriteTransaction,
    key: &QuotaKey,
    change: impl FnOnce(&mut Counter) -> Result<T, StoreErrorKind>,
) -> Result<T, Failure> {
    let name = counter_name(key);
    let mut table = transaction.open_table(COUNTERS)?;
    let mut counter = match table.get(&*name)? {
        Some(kept) => read(kept.value())?,
        None => Counter::default(),
    };
    let answer = change(&mut counter).map_err(Failure::Refused)?;
    table.insert(&*name, &*written(&counter)?)?;
    Ok(answer)
}

/// Leases units. With a window that moves with time, all of its counters count against the limit; the file has one writer at
/// a time, so they can't change meanwhile.
fn lease(transaction: &WriteTransaction, ask: &LeaseAsk) -> Result<LeaseGrant, Failure> {
    let Some(since) = ask.since else {
        return change(transaction, &ask.key, |counter| counter.lease(ask, Units::ZERO));
    };
    let window = QuotaWindow {
        account: ask.key.account,
        key: ask.key.key,
        meter: ask.key.meter.clone(),
        since,
    };
    let before = window_state(transaction, &window)?.balance;
    let grant = change(transaction, &ask.key, |counter| {
        let own = counter.balance();
        let others = before.used.plus(before.leased).minus(own.used).minus(own.leased);
        counter.lease(ask, others)
    })?;
    let after = window_state(transaction, &window)?;
    Ok(LeaseGrant {
        balance: after.balance,
        oldest: after.oldest,
        ..grant
    })
}

/// Sums up the counters of a window.
fn window_state(transaction: &WriteTransaction, window: &QuotaWindow) -> Result<WindowState, Failure> {
    let all_of_meter = format!("{}/{}/", owner(window.account, window.key), window.meter);
    let table = transaction.open_table(COUNTERS)?;
    let mut state = WindowState::default();
    for entry in table.range(&*all_of_meter..)? {
        let (name, kept) = entry?;
        let Some(start) = name.value().strip_prefix(&all_of_meter) else {
            break;
        };
        let start = start.parse().map(Timestamp::from_micros).unwrap_or_default();
        let Balance { used, leased } = read(kept.value())?.balance();
        if start < window.since || used.plus(leased).is_zero() {
            continue;
        }
        state.balance.used = state.balance.used.plus(used);
        state.balance.leased = state.balance.leased.plus(leased);
        state.oldest = Some(state.oldest.map_or(start, |oldest| oldest.min(start)));
    }
    Ok(state)
}

fn read(kept: &[u8]) -> Result<Counter, Failure> {
    serde_json::from_slice(kept).map_err(Failure::Corrupt)
}

fn written(counter: &Counter) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(counter).map_err(Failure::Corrupt)
}

#[async_trait]
impl QuotaStore for FileStore {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        let ask = ask.clone();
        self.write("lease units", move |transaction| lease(transaction, &ask))
            .await
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        let release = release.clone();
        self.write("give units back", move |transaction| {
            change(transaction, &release.key, |counter| counter.release(&release))
        })
        .await
    }

    async fn settle(
        &self,
        _holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        _now: Timestamp,
    ) -> StoreResult<()> {
        let settlements = settlements.to_vec();
        self.write("settle a batch", move |transaction| {
            settle_once(transaction, batch, &settlements)
        })
        .await
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        let keys = keys.to_vec();
        self.write("read balances", move |transaction| {
            let table = transaction.open_table(COUNTERS)?;
            let balance = |key| match table.get(&*counter_name(key))? {
                Some(kept) => Ok(read(kept.value())?.balance()),
                None => Ok(Balance::default()),
            };
            keys.iter().map(balance).collect()
        })
        .await
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        let windows = windows.to_vec();
        self.write("read windows", move |transaction| {
            let state = |window| window_state(transaction, window);
            windows.iter().map(state).collect()
        })
        .await
    }

    async fn close_earlier(&self, holder: Holder, _now: Timestamp) -> StoreResult<Units> {
        self.write("close earlier leases", move |transaction| {
            let mut given_back = Units::ZERO;
            let mut changed = Vec::new();
            let mut table = transaction.open_table(COUNTERS)?;
            for entry in table.iter()? {
                let (name, kept) = entry?;
                let mut counter = read(kept.value())?;
                let units = counter.close_earlier(holder);
                given_back = given_back.plus(Units::new(units));
                changed.push((name.value().to_owned(), written(&counter)?));
            }
            for (name, counter) in changed {
                table.insert(&*name, &*counter)?;
            }
            Ok(given_back)
        })
        .await
    }

    fn settled_by(&self) -> Option<StoreIdentity> {
        Some(self.identity)
    }
}
