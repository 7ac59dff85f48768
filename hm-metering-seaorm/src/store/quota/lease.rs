//! Taking units.

use std::cmp::Ordering;

use async_trait::async_trait;
use hm_metering::Units;
use hm_metering::quota::{FencingToken, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaWindow, WindowState};
use sea_orm::sea_query::OnConflict;
use sea_orm::{DatabaseTransaction, EntityTrait};

use super::{counter, meter};
use crate::entity::quota_counter;
use crate::entity::quota_lease::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;

pub(in crate::store) const OPEN: &str = "open";
pub(super) const CLOSED: &str = "closed";

pub(super) struct Lease(pub(super) LeaseAsk);

#[async_trait]
impl Work for Lease {
    type Answer = LeaseGrant;

    fn waits_again(&self) -> bool {
        false
    }

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<LeaseGrant, Failure> {
        let ask = &self.0;
        let operation = number(ask.operation)?;
        let fresh = counter::fresh(&ask.key, None, Some(ask.limit), ask.now);
        let mut counter = match ask.since {
            None => counter::lock_one(transaction, fresh).await?,
            Some(_) => counter::lock_in_window(transaction, fresh).await?,
        };
        let before = state(transaction, ask, &counter).await?;
        let found = find(transaction, ask.holder, &ask.key).await?;
        if let Some(lease) = &found
            && is_repeated(lease, operation)?
        {
            // What gave units back before can't have been a lease.
            let granted = lease.last_grant.ok_or(Failure::CONFLICT)?;
            return Ok(grant(Units::from_i64(granted), lease, before));
        }

        let left = ask.limit.minus(before.balance.used).minus(before.balance.leased);
        let granted = left.min(ask.want);
        let mut lease = match found {
            Some(lease) if lease.state == OPEN => lease,
            // One that was closed begins anew: what it had is no longer its own.
            _ => {
                counter.token += 1;
                opened(ask, counter.token)
            }
        };
        counter.leased += granted.as_i64();
        counter.quota = Some(ask.limit.as_i64());
        counter.updated_at = ask.now.as_micros();
        lease.granted += granted.as_i64();
        lease.expires_at = lease.expires_at.max(ask.until.as_micros());
        lease.updated_at = ask.now.as_micros();
        lease.last_op = operation;
        lease.last_grant = Some(granted.as_i64());
        let answer = grant(granted, &lease, debited(before, granted, ask));
        counter::save(transaction, [counter]).await?;
        save(transaction, [lease]).await?;
        Ok(answer)
    }
}

/// The number of an operation as its column holds it.
pub(super) fn number(operation: u64) -> Result<i64, Failure> {
    match i64::try_from(operation) {
        Ok(number) if number > 0 => Ok(number),
        Ok(_) | Err(_) => Err(Failure::INVALID),
    }
}

/// Whether `operation` is the holder's last one, not a new one.
pub(super) fn is_repeated(lease: &Model, operation: i64) -> Result<bool, Failure> {
    match operation.cmp(&lease.last_op) {
        Ordering::Less => Err(Failure::CONFLICT),
        Ordering::Equal => Ok(true),
        Ordering::Greater => Ok(false),
    }
}

/// What counts against the limit: the counter alone, or the window it belongs to. The caller has locked it.
async fn state(
    transaction: &DatabaseTransaction,
    ask: &LeaseAsk,
    counter: &quota_counter::Model,
) -> Result<WindowState, Failure> {
    let Some(since) = ask.since else {
        return Ok(WindowState {
            balance: counter::balance(counter),
            oldest: None,
        });
    };
    let window = QuotaWindow {
        account: ask.key.account,
        key: ask.key.key,
        meter: ask.key.meter.clone(),
        since,
    };
    let states = counter::windows(transaction, &[window]).await?;
    states.into_iter().next().ok_or(Failure::CORRUPT)
}

/// The same after the debit. A counter that starts before the window is none of its own.
fn debited(mut state: WindowState, granted: Units, ask: &LeaseAsk) -> WindowState {
    let start = ask.key.period.start;
    if ask.since.is_some_and(|since| start < since) {
        return state;
    }
    state.balance.leased = state.balance.leased.plus(granted);
    if ask.since.is_some() && !granted.is_zero() {
        state.oldest = Some(state.oldest.map_or(start, |oldest| oldest.min(start)));
    }
    state
}

fn grant(granted: Units, lease: &Model, state: WindowState) -> LeaseGrant {
    LeaseGrant {
        granted,
        token: FencingToken(lease.token.cast_unsigned()),
        balance: state.balance,
        oldest: state.oldest,
    }
}

fn opened(ask: &LeaseAsk, token: i64) -> Model {
    Model {
        account_id: ask.key.account.as_uuid(),
        meter: meter::of(&ask.key),
        period_start: ask.key.period.start.as_micros(),
        replica: ask.holder.replica.as_uuid(),
        epoch: ask.holder.epoch.cast_signed(),
        token,
        granted: 0,
        settled: 0,
        last_op: 0,
        last_grant: None,
        expires_at: ask.until.as_micros(),
        state: OPEN.to_owned(),
        updated_at: ask.now.as_micros(),
    }
}

/// The holder's lease on a counter, which the caller has locked.
pub(super) async fn find(
    transaction: &DatabaseTransaction,
    holder: Holder,
    key: &QuotaKey,
) -> Result<Option<Model>, Failure> {
    let id = (
        key.account.as_uuid(),
        meter::of(key),
        key.period.start.as_micros(),
        holder.replica.as_uuid(),
        holder.epoch.cast_signed(),
    );
    Ok(Entity::find_by_id(id).one(transaction).await?)
}

/// Writes leases whose counters the caller has locked.
pub(super) async fn save(
    transaction: &DatabaseTransaction,
    leases: impl IntoIterator<Item = Model>,
) -> Result<(), Failure> {
    let rows: Vec<Model> = leases.into_iter().collect();
    for chunk in rows.chunks(sql::rows_max(13)) {
        Entity::insert_many(sql::to_insert(chunk))
            .on_conflict(
                OnConflict::columns([
                    Column::AccountId,
                    Column::Meter,
                    Column::PeriodStart,
                    Column::Replica,
                    Column::Epoch,
                ])
                .update_columns([
                    Column::Token,
                    Column::Granted,
                    Column::Settled,
                    Column::LastOp,
                    Column::LastGrant,
                    Column::ExpiresAt,
                    Column::State,
                    Column::UpdatedAt,
                ])
                .to_owned(),
            )
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}

/// What a lease has that is neither settled nor given back.
pub(super) fn outstanding(lease: &Model) -> i64 {
    if lease.state == OPEN {
        (lease.granted - lease.settled).max(0)
    } else {
        0
    }
}
