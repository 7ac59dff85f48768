use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hm_metering::conformance::{Fixture, MadeUpAccounts, quota};
use hm_metering::error::{StoreErrorKind, StoreResult};
use hm_metering::id::ReplicaId;
use hm_metering::quota::{
    Balance, FencingToken, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaWindow, Release, Settlement,
    WindowState,
};
use hm_metering::usage::BatchId;
use hm_metering::{KeyId, MemoryStore, MeterName, QuotaStore, Timestamp, Units};
use uuid::Uuid;

use super::bites;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    GrantsWhatIsWanted,
    GrantsAllOrNothing,
    ReadsAndThenWrites,
    RepeatedLeaseDebitsTwice,
    RepeatedLeaseGrantsNothing,
    LateOperationIsTaken,
    RepeatedReleaseIsInvalid,
    ReleaseGivesBackMoreThanThereIs,
    ClosedReleaseGivesBack,
    SettlesTwice,
    SettlesFirstOnly,
    ForgetsTheLease,
    OverspendIsCutOff,
    OverspendComesOutOfOthers,
    CloseTakesTheOwnRun,
    CloseTakesOtherReplicas,
    CloseGivesNothingBack,
    OneTokenForAll,
    MetersAreMixed,
    PeriodEndsMatter,
    StartsAreCutToSeconds,
    BalancesAreSorted,
    LeasesEndByThemselves,
    SinceIsIgnored,
    LaterCountersAreIgnored,
    WindowsAreReadAndThenWritten,
    WindowsMixMeters,
    KeysAreIgnored,
    KeysAreMixed,
    WindowsMixKeys,
    WindowsHaveNoOldest,
}

struct Broken {
    store: MemoryStore,
    fault: Option<Fault>,
    calls: AtomicU64,
    tokens: Mutex<HashMap<Holder, FencingToken>>,
    /// Until when holders said that they would spend what they leased.
    untils: Mutex<HashMap<Holder, Timestamp>>,
    /// Units that a fault has given away on top of what the store says.
    given_away: Mutex<HashMap<QuotaKey, u64>>,
}

impl Broken {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn key(&self, key: &QuotaKey) -> QuotaKey {
        let mut key = key.clone();
        let start = key.period.start.as_micros();
        if self.has(Fault::MetersAreMixed) {
            key.meter = MeterName::REQUESTS;
        }
        if self.has(Fault::KeysAreIgnored) {
            key.key = None;
        }
        if self.has(Fault::KeysAreMixed) {
            key.key = key.key.map(|_| KeyId::from_uuid(Uuid::nil()));
        }
        if self.has(Fault::PeriodEndsMatter) {
            key.period.start = Timestamp::from_micros(start + key.period.end.as_micros() / 1_000_000 % 7);
        }
        if self.has(Fault::StartsAreCutToSeconds) {
            key.period.start = Timestamp::from_micros(start - start.rem_euclid(1_000_000));
        }
        key
    }

    fn shown(&self, key: &QuotaKey, mut balance: Balance) -> Balance {
        let given_away = self.given_away.lock().unwrap();
        let units = given_away.get(key).copied().unwrap_or(0);
        balance.leased = balance.leased.minus(Units::new(units));
        balance
    }

    fn give_away(&self, key: &QuotaKey, units: u64) {
        *self.given_away.lock().unwrap().entry(key.clone()).or_default() += units;
    }

    async fn window(&self, key: &QuotaKey, since: Timestamp) -> StoreResult<Balance> {
        let window = QuotaWindow {
            account: key.account,
            key: key.key,
            meter: key.meter.clone(),
            since,
        };
        Ok(self.store.windows(&[window]).await?[0].balance)
    }

    /// Gives back what holders have whose time is over.
    async fn end_leases(&self, now: Timestamp) -> StoreResult<()> {
        let over: Vec<Holder> = {
            let mut untils = self.untils.lock().unwrap();
            untils
                .extract_if(|_, until| *until < now)
                .map(|(holder, _)| holder)
                .collect()
        };
        for Holder { replica, .. } in over {
            let epoch = u64::MAX;
            self.store.close_earlier(Holder { replica, epoch }, now).await?;
        }
        Ok(())
    }

    async fn balance(&self, key: &QuotaKey) -> StoreResult<Balance> {
        let answer = self.store.balances(std::slice::from_ref(key)).await?;
        Ok(self.shown(key, answer[0]))
    }
}

#[async_trait]
impl QuotaStore for Broken {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        let mut ask = ask.clone();
        ask.key = self.key(&ask.key);
        if self.has(Fault::GrantsWhatIsWanted) {
            ask.limit = Units::MAX;
        }
        if self.has(Fault::RepeatedLeaseDebitsTwice) {
            ask.operation = ask.operation * 1_000 + self.next_call();
        }
        let before = self.balance(&ask.key).await?;
        let free = ask.limit.minus(before.used.plus(before.leased));
        if self.has(Fault::GrantsAllOrNothing) && free < ask.want {
            ask.want = Units::ZERO;
        }
        if self.has(Fault::ReadsAndThenWrites) {
            tokio::task::yield_now().await;
            ask.want = ask.want.min(free);
            ask.limit = Units::MAX;
        }
        if self.has(Fault::LeasesEndByThemselves) {
            self.end_leases(ask.now).await?;
            self.untils.lock().unwrap().insert(ask.holder, ask.until);
        }
        if self.has(Fault::SinceIsIgnored) {
            ask.since = None;
        }
        if self.has(Fault::LaterCountersAreIgnored) && ask.since.is_some() {
            let later = self.window(&ask.key, ask.key.period.end).await?;
            ask.limit = ask.limit.plus(later.used).plus(later.leased);
        }
        if self.has(Fault::WindowsAreReadAndThenWritten)
            && let Some(since) = ask.since.take()
        {
            let sum = self.window(&ask.key, since).await?;
            tokio::task::yield_now().await;
            ask.want = ask.want.min(ask.limit.minus(sum.used).minus(sum.leased));
            ask.limit = Units::MAX;
        }
        let answer = self.store.lease(&ask).await;
        let mut grant = match answer {
            Err(error)
                if self.has(Fault::LateOperationIsTaken) && error.kind() == StoreErrorKind::Conflict =>
            {
                ask.operation = 1_000 + self.next_call();
                self.store.lease(&ask).await?
            }
            answer => answer?,
        };
        if self.has(Fault::RepeatedLeaseGrantsNothing) && grant.balance == before {
            grant.granted = Units::ZERO;
        }
        self.tokens.lock().unwrap().insert(ask.holder, grant.token);
        if self.has(Fault::OneTokenForAll) {
            grant.token = FencingToken(1);
        }
        Ok(grant)
    }

    async fn release(&self, release: &Release) -> StoreResult<Balance> {
        let mut release = release.clone();
        release.key = self.key(&release.key);
        if self.has(Fault::RepeatedLeaseDebitsTwice) {
            release.operation = release.operation * 1_000 + self.next_call();
        }
        if self.has(Fault::OneTokenForAll)
            && let Some(token) = self.tokens.lock().unwrap().get(&release.holder)
        {
            release.token = *token;
        }
        let before = self.balance(&release.key).await?;
        let answer = self.store.release(&release).await;
        match answer {
            Ok(balance) if balance == before && !release.units.is_zero() => {
                if self.has(Fault::RepeatedReleaseIsInvalid) {
                    let error = StoreErrorKind::Invalid;
                    return Err(hm_metering::StoreError::new(error, "release quota"));
                }
                if self.has(Fault::ClosedReleaseGivesBack) {
                    self.give_away(&release.key, release.units.get());
                }
                self.balance(&release.key).await
            }
            Err(error)
                if self.has(Fault::ReleaseGivesBackMoreThanThereIs)
                    && error.kind() == StoreErrorKind::Invalid =>
            {
                self.give_away(&release.key, release.units.get());
                self.balance(&release.key).await
            }
            answer => answer,
        }
    }

    async fn settle(
        &self,
        holder: Holder,
        batch: BatchId,
        settlements: &[Settlement],
        now: Timestamp,
    ) -> StoreResult<()> {
        let mut batch = batch;
        if self.has(Fault::SettlesTwice) {
            batch.number = 1_000 * batch.number + self.next_call();
        }
        let mut settlements = settlements.to_vec();
        if self.has(Fault::SettlesFirstOnly) {
            settlements.truncate(1);
        }
        for settlement in &mut settlements {
            settlement.key = self.key(&settlement.key);
            if self.has(Fault::ForgetsTheLease) {
                settlement.lease = None;
            }
            if self.has(Fault::OneTokenForAll) {
                settlement.lease = self.tokens.lock().unwrap().get(&holder).copied();
            }
            if settlement.lease.is_some() {
                let leased = self.balance(&settlement.key).await?.leased;
                if self.has(Fault::OverspendIsCutOff) {
                    settlement.units = settlement.units.min(Units::new(10)).min(leased);
                }
                if self.has(Fault::OverspendComesOutOfOthers) {
                    let over = settlement.units.minus(Units::new(10));
                    self.give_away(&settlement.key, over.get());
                }
            }
        }
        self.store.settle(holder, batch, &settlements, now).await
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        let mut keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
        if self.has(Fault::BalancesAreSorted) {
            keys.sort();
        }
        let answer = self.store.balances(&keys).await?;
        let shown = |(key, balance)| self.shown(key, balance);
        Ok(keys.iter().zip(answer).map(shown).collect())
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        let mut windows = windows.to_vec();
        if self.has(Fault::WindowsMixMeters) {
            windows
                .iter_mut()
                .for_each(|window| window.meter = MeterName::REQUESTS);
        }
        if self.has(Fault::WindowsMixKeys) {
            windows.iter_mut().for_each(|window| window.key = None);
        }
        let mut states = self.store.windows(&windows).await?;
        if self.has(Fault::WindowsHaveNoOldest) {
            states.iter_mut().for_each(|state| state.oldest = None);
        }
        Ok(states)
    }

    async fn close_earlier(&self, holder: Holder, now: Timestamp) -> StoreResult<Units> {
        if self.has(Fault::CloseGivesNothingBack) {
            return Ok(Units::ZERO);
        }
        if self.has(Fault::CloseTakesTheOwnRun) {
            let next = Holder {
                epoch: holder.epoch + 1_000,
                ..holder
            };
            return self.store.close_earlier(next, now).await;
        }
        let given_back = self.store.close_earlier(holder, now).await?;
        if self.has(Fault::CloseTakesOtherReplicas) {
            let holders: Vec<ReplicaId> = self
                .tokens
                .lock()
                .unwrap()
                .keys()
                .map(|holder| holder.replica)
                .collect();
            for replica in holders {
                let none = Holder {
                    replica,
                    epoch: u64::MAX,
                };
                self.store.close_earlier(none, now).await?;
            }
        }
        Ok(given_back)
    }
}

fn make(fault: Option<Fault>) -> Fixture<dyn QuotaStore> {
    let broken = Broken {
        store: MemoryStore::new(),
        fault,
        calls: AtomicU64::new(0),
        tokens: Mutex::default(),
        untils: Mutex::default(),
        given_away: Mutex::default(),
    };
    Fixture::new(Arc::new(broken), MadeUpAccounts)
}

#[tokio::test]
async fn every_fault_of_a_quota_store_is_noticed() {
    let faults = [
        (
            Fault::GrantsWhatIsWanted,
            "the_last_units_are_granted_and_then_none",
        ),
        (
            Fault::GrantsAllOrNothing,
            "the_last_units_are_granted_and_then_none",
        ),
        (Fault::ReadsAndThenWrites, "many_holders_get_exactly_the_limit"),
        (Fault::RepeatedLeaseDebitsTwice, "a_repeated_lease_debits_once"),
        (Fault::RepeatedLeaseGrantsNothing, "a_repeated_lease_debits_once"),
        (Fault::LateOperationIsTaken, "a_late_operation_is_a_conflict"),
        (
            Fault::RepeatedReleaseIsInvalid,
            "a_repeated_release_gives_back_once",
        ),
        (
            Fault::ReleaseGivesBackMoreThanThereIs,
            "more_than_was_leased_is_not_given_back",
        ),
        (Fault::ClosedReleaseGivesBack, "a_closed_lease_gives_nothing_back"),
        (Fault::SettlesTwice, "a_batch_is_settled_once"),
        (Fault::SettlesFirstOnly, "a_counter_may_be_named_several_times"),
        (
            Fault::ForgetsTheLease,
            "settled_units_are_used_and_no_longer_leased",
        ),
        (Fault::OverspendIsCutOff, "more_than_the_lease_has_is_counted"),
        (
            Fault::OverspendComesOutOfOthers,
            "more_than_the_lease_has_is_counted",
        ),
        (
            Fault::CloseTakesTheOwnRun,
            "other_replicas_and_the_own_run_are_left_alone",
        ),
        (
            Fault::CloseTakesOtherReplicas,
            "other_replicas_and_the_own_run_are_left_alone",
        ),
        (Fault::CloseGivesNothingBack, "earlier_leases_are_given_back"),
        (Fault::OneTokenForAll, "a_closed_lease_does_not_open_again"),
        (Fault::MetersAreMixed, "counters_do_not_touch_each_other"),
        (Fault::KeysAreIgnored, "counters_of_keys_do_not_touch_each_other"),
        (Fault::KeysAreMixed, "counters_of_keys_do_not_touch_each_other"),
        (Fault::WindowsMixKeys, "windows_of_keys_do_not_touch_each_other"),
        (Fault::PeriodEndsMatter, "a_periods_start_makes_the_counter"),
        (Fault::StartsAreCutToSeconds, "counters_do_not_touch_each_other"),
        (Fault::BalancesAreSorted, "many_balances_are_answered_in_order"),
        (Fault::LeasesEndByThemselves, "a_lease_does_not_end_by_itself"),
        (Fault::SinceIsIgnored, "the_counters_of_a_window_share_its_limit"),
        (Fault::LaterCountersAreIgnored, "later_counters_of_a_window_count"),
        (
            Fault::WindowsAreReadAndThenWritten,
            "many_sub_periods_get_exactly_the_limit",
        ),
        (Fault::WindowsMixMeters, "a_window_is_the_sum_of_its_counters"),
        (Fault::WindowsHaveNoOldest, "a_window_is_the_sum_of_its_counters"),
    ];
    bites(quota::cases(), make, &faults).await;
}
