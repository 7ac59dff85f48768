//! Taking units.

use async_trait::async_trait;
use hm_metering::quota::{Balance, FencingToken, Holder, LeaseAsk, LeaseGrant, QuotaKey};
use hm_metering::{StoreErrorKind, Units};
use sea_orm::sea_query::OnConflict;
use sea_orm::{DatabaseTransaction, EntityTrait};

use super::counter;
use crate::entity::quota_lease::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;
use crate::store::run::Work;

pub(super) const OPEN: &str = "open";
pub(super) const CLOSED: &str = "closed";

pub(super) struct Lease(pub(super) LeaseAsk);

#[async_trait]
impl Work for Lease {
    type Answer = LeaseGrant;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<LeaseGrant, Failure> {
        let ask = &self.0;
        let operation = number(ask.operation)?;
        let fresh = counter::fresh(&ask.key, None, Some(ask.limit), ask.now);
        let mut counter = counter::lock_one(transaction, fresh).await?;
        let found = find(transaction, ask.holder, &ask.key).await?;
        if let Some(lease) = &found
            && let Some(answer) = repeated(lease, operation)?
        {
            // What gave units back before can't have been a lease.
            return if lease.last_grant < 0 {
                Err(Failure::CONFLICT)
            } else {
                Ok(answer)
            };
        }

        let balance = counter::balance(&counter);
        let left = ask.limit.minus(balance.used).minus(balance.leased);
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
        lease.last_grant = granted.as_i64();
        lease.last_used = counter.used;
        lease.last_leased = counter.leased;
        let answer = answer(&lease);
        counter::save(transaction, [counter]).await?;
        save(transaction, [lease]).await?;
        Ok(answer)
    }
}

/// The number of an operation as its column holds it.
pub(super) fn number(operation: u64) -> Result<i64, Failure> {
    i64::try_from(operation).map_err(|_| Failure::Refused(StoreErrorKind::Invalid))
}

/// The first answer, when `operation` is the holder's last one; nothing when it is new.
pub(super) fn repeated(lease: &Model, operation: i64) -> Result<Option<LeaseGrant>, Failure> {
    match operation.cmp(&lease.last_op) {
        std::cmp::Ordering::Less => Err(Failure::CONFLICT),
        std::cmp::Ordering::Equal => Ok(Some(answer(lease))),
        std::cmp::Ordering::Greater => Ok(None),
    }
}

fn answer(lease: &Model) -> LeaseGrant {
    LeaseGrant {
        granted: Units::from_i64(lease.last_grant),
        token: FencingToken(lease.token.cast_unsigned()),
        balance: Balance {
            used: Units::from_i64(lease.last_used),
            leased: Units::from_i64(lease.last_leased),
        },
    }
}

fn opened(ask: &LeaseAsk, token: i64) -> Model {
    Model {
        account_id: ask.key.account.as_uuid(),
        meter: ask.key.meter.as_str().to_owned(),
        period_start: ask.key.period.start.as_micros(),
        replica: ask.holder.replica.as_uuid(),
        epoch: ask.holder.epoch.cast_signed(),
        token,
        granted: 0,
        settled: 0,
        last_op: 0,
        last_grant: 0,
        last_used: 0,
        last_leased: 0,
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
        key.meter.as_str().to_owned(),
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
    for chunk in rows.chunks(sql::rows_max(15)) {
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
                    Column::LastUsed,
                    Column::LastLeased,
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
