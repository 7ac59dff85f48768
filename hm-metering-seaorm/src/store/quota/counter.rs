//! Rows of `quota_counters`.

use std::collections::{BTreeMap, HashMap, HashSet};

use hm_metering::quota::{Balance, QuotaKey, QuotaWindow, WindowState};
use hm_metering::{PlanId, Timestamp, Units};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
    prelude::Uuid,
};

use super::meter;
use crate::entity::quota_counter::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;

/// How many windows or counters are asked for by their whole keys in one statement.
pub(super) const WINDOWS: usize = 200;
/// How many meters are named where counters are asked for by account and start.
const METERS: usize = 100;

/// A counter's key as its columns hold it. Its order is the order in which counters are locked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::store) struct CounterKey {
    pub(in crate::store) account: Uuid,
    pub(in crate::store) meter: String,
    pub(in crate::store) period_start: i64,
}

impl CounterKey {
    pub(in crate::store) fn of(key: &QuotaKey) -> Self {
        Self {
            account: key.account.as_uuid(),
            meter: meter::of(key),
            period_start: key.period.start.as_micros(),
        }
    }

    fn of_row(row: &Model) -> Self {
        Self {
            account: row.account_id,
            meter: row.meter.clone(),
            period_start: row.period_start,
        }
    }
}

/// A counter as it comes into being, where it isn't there yet.
pub(super) fn fresh(key: &QuotaKey, plan: Option<&PlanId>, limit: Option<Units>, now: Timestamp) -> Model {
    Model {
        account_id: key.account.as_uuid(),
        meter: meter::of(key),
        period_start: key.period.start.as_micros(),
        period_end: key.period.end.as_micros(),
        used: 0,
        leased: 0,
        token: 0,
        quota: limit.map(Units::as_i64),
        tier: plan.map_or_else(String::new, |plan| plan.as_str().to_owned()),
        updated_at: now.as_micros(),
    }
}

/// Takes the counters, which are those in `fresh` where they are not there yet, until the transaction ends.
pub(super) async fn lock(
    transaction: &DatabaseTransaction,
    fresh: BTreeMap<CounterKey, Model>,
) -> Result<BTreeMap<CounterKey, Model>, Failure> {
    let rows: Vec<Model> = fresh.into_values().collect();
    let mut locked = BTreeMap::new();
    for chunk in rows.chunks(sql::rows_max(10)) {
        // An upsert that changes nothing: it makes the row or waits for it, and answers what it holds, in one step.
        let upsert = Entity::insert_many(sql::to_insert(chunk)).on_conflict(
            OnConflict::columns([Column::AccountId, Column::Meter, Column::PeriodStart])
                .update_column(Column::PeriodStart)
                .to_owned(),
        );
        let found = if transaction.support_returning() {
            upsert.exec_with_returning(transaction).await?
        } else {
            upsert.exec_without_returning(transaction).await?;
            held(transaction, chunk).await?
        };
        locked.extend(found.into_iter().map(|row| (CounterKey::of_row(&row), row)));
    }
    Ok(locked)
}

/// The counters of these keys, which the transaction holds: what it reads is what was committed last.
async fn held(transaction: &DatabaseTransaction, rows: &[Model]) -> Result<Vec<Model>, Failure> {
    let mut found = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(WINDOWS) {
        let mut keys = Condition::any();
        for row in chunk {
            keys = keys.add(
                Condition::all()
                    .add(Column::AccountId.eq(row.account_id))
                    .add(Column::Meter.eq(row.meter.as_str()))
                    .add(Column::PeriodStart.eq(row.period_start)),
            );
        }
        found.extend(Entity::find().filter(keys).all(transaction).await?);
    }
    Ok(found)
}

/// Takes one counter until the transaction ends.
pub(super) async fn lock_one(transaction: &DatabaseTransaction, fresh: Model) -> Result<Model, Failure> {
    let counters = lock(transaction, BTreeMap::from([(CounterKey::of_row(&fresh), fresh)])).await?;
    counters.into_values().next().ok_or(Failure::CORRUPT)
}

/// Writes counters back that [`lock`] gave.
pub(super) async fn save(
    transaction: &DatabaseTransaction,
    counters: impl IntoIterator<Item = Model>,
) -> Result<(), Failure> {
    let rows: Vec<Model> = counters.into_iter().collect();
    for chunk in rows.chunks(sql::rows_max(10)) {
        Entity::insert_many(sql::to_insert(chunk))
            .on_conflict(
                OnConflict::columns([Column::AccountId, Column::Meter, Column::PeriodStart])
                    .update_columns([
                        Column::PeriodEnd,
                        Column::Used,
                        Column::Leased,
                        Column::Token,
                        Column::Quota,
                        Column::Tier,
                        Column::UpdatedAt,
                    ])
                    .to_owned(),
            )
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}

pub(super) fn balance(row: &Model) -> Balance {
    Balance {
        used: Units::from_i64(row.used),
        leased: Units::from_i64(row.leased),
    }
}

/// Takes one counter, and with it all leases of windows that its account or key has of its meter, until the transaction ends.
///
/// Leases in different counters of a window must not run side by side, or none would see what the others debit. What
/// they have in common is a row that stands for the account or key and the meter: its period starts before all time, and it counts
/// nothing. It is locked first, as the order of keys demands.
pub(super) async fn lock_in_window(
    transaction: &DatabaseTransaction,
    fresh: Model,
) -> Result<Model, Failure> {
    let common = Model {
        period_start: i64::MIN,
        period_end: i64::MIN,
        quota: None,
        ..fresh.clone()
    };
    let key = CounterKey::of_row(&fresh);
    let rows = [common, fresh].map(|row| (CounterKey::of_row(&row), row));
    let mut counters = lock(transaction, BTreeMap::from(rows)).await?;
    counters.remove(&key).ok_or(Failure::CORRUPT)
}

/// The states of windows, in the order asked.
pub(super) async fn windows(
    db: &impl ConnectionTrait,
    windows: &[QuotaWindow],
) -> Result<Vec<WindowState>, Failure> {
    let mut states = Vec::with_capacity(windows.len());
    let mut rest = windows;
    while !rest.is_empty() {
        // Rows are summed up by account or key and meter, so these must be different in one question.
        let mut named = HashSet::new();
        let distinct = rest
            .iter()
            .take(WINDOWS)
            .take_while(|&window| named.insert(owner_of(window)))
            .count();
        let (some, later) = rest.split_at(distinct);
        let sums = sums(db, some).await?;
        let state = |window: &QuotaWindow| sums.get(&owner_of(window)).copied().unwrap_or_default();
        states.extend(some.iter().map(state));
        rest = later;
    }
    Ok(states)
}

/// Whose windows: an account's or key's, of a meter, as columns hold them.
type Owner = (Uuid, String);

fn owner_of(window: &QuotaWindow) -> Owner {
    (
        window.account.as_uuid(),
        meter::written(&window.meter, window.key),
    )
}

/// The sums over windows of different accounts, keys or meters.
async fn sums(
    db: &impl ConnectionTrait,
    windows: &[QuotaWindow],
) -> Result<HashMap<Owner, WindowState>, Failure> {
    let backend = db.get_database_backend();
    let mut of_windows = Condition::any();
    for window in windows {
        let (account, meter) = owner_of(window);
        of_windows = of_windows.add(
            Condition::all()
                .add(Column::AccountId.eq(account))
                .add(Column::Meter.eq(meter))
                .add(Column::PeriodStart.gte(window.since.as_micros())),
        );
    }
    let rows: Vec<(Uuid, String, i64, i64, i64)> = Entity::find()
        .select_only()
        .columns([Column::AccountId, Column::Meter])
        .column_as(Expr::cust(sql::capped_sum(backend, "used")), "used_sum")
        .column_as(Expr::cust(sql::capped_sum(backend, "leased")), "leased_sum")
        .column_as(Column::PeriodStart.min(), "oldest")
        .filter(of_windows)
        .filter(Condition::any().add(Column::Used.gt(0)).add(Column::Leased.gt(0)))
        .group_by(Column::AccountId)
        .group_by(Column::Meter)
        .into_tuple()
        .all(db)
        .await?;
    let state = |(account, meter, used, leased, oldest)| {
        let balance = Balance {
            used: Units::from_i64(used),
            leased: Units::from_i64(leased),
        };
        let oldest = Some(Timestamp::from_micros(oldest));
        ((account, meter), WindowState { balance, oldest })
    };
    Ok(rows.into_iter().map(state).collect())
}

/// The counters' states, in the order asked.
pub(super) async fn balances(db: &impl ConnectionTrait, keys: &[QuotaKey]) -> Result<Vec<Balance>, Failure> {
    let mut found = HashMap::new();
    let mut accounts: Vec<Uuid> = keys.iter().map(|key| key.account.as_uuid()).collect();
    let mut starts: Vec<i64> = keys.iter().map(|key| key.period.start.as_micros()).collect();
    accounts.sort_unstable();
    accounts.dedup();
    starts.sort_unstable();
    starts.dedup();
    // An account may have counters of many keys, which are none of those that are asked for.
    let mut meters: Vec<String> = keys.iter().map(meter::of).collect();
    meters.sort_unstable();
    meters.dedup();
    let of_meters = match meters.len() {
        0..=METERS => Condition::all().add(Column::Meter.is_in(meters)),
        _ => Condition::all(),
    };
    for accounts in accounts.chunks(sql::rows_max(2)) {
        for starts in starts.chunks(sql::rows_max(2) - METERS) {
            let rows = Entity::find()
                .filter(of_meters.clone())
                .filter(Column::AccountId.is_in(accounts.iter().copied()))
                .filter(Column::PeriodStart.is_in(starts.iter().copied()))
                .all(db)
                .await?;
            found.extend(
                rows.into_iter()
                    .map(|row| (CounterKey::of_row(&row), balance(&row))),
            );
        }
    }
    Ok(keys
        .iter()
        .map(|key| found.get(&CounterKey::of(key)).copied().unwrap_or_default())
        .collect())
}
