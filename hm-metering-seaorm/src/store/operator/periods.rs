//! Closing the summaries of periods that are over, and correcting closed ones.

use std::time::Duration;

use async_trait::async_trait;
use hm_metering::period::Period;
use hm_metering::{AccountId, MeterName, PlanId, StoreResult, Timestamp, Units};
use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Expr, LockBehavior, LockType};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    QueryOrder, QuerySelect,
};

use crate::SeaOrmStore;
use crate::entity::{usage_correction, usage_summary};
use crate::error::Failure;
use crate::store::run::Work;
use crate::store::text::must_fit;
use crate::store::usage::summary::MANUAL;

/// How long after the end of its period a summary is still open for what is recorded late: a day. A replica that is away
/// for longer brings corrections.
pub const CLOSING_GRACE: Duration = Duration::from_secs(86_400);

/// Closes summaries of periods that had ended by `now` less `grace`, the oldest first, at most `limit`, and answers how
/// many it closed. A closed one never changes again: what is recorded for its period after that becomes a correction
/// beside it.
///
/// It may run on several servers at once, which then close different ones, and be repeated. When it answers less than
/// `limit`, none is left but those that others close just now.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn close_periods(
    store: &SeaOrmStore,
    now: Timestamp,
    grace: Duration,
    limit: u64,
) -> StoreResult<u64> {
    let work = Close {
        now: now.as_micros(),
        ended: now.minus(grace).as_micros(),
        limit,
    };
    store.transact_patiently("close summaries", work).await
}

struct Close {
    now: i64,
    ended: i64,
    limit: u64,
}

#[async_trait]
impl Work for Close {
    type Answer = u64;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<u64, Failure> {
        // What others close or write just now is theirs, unless nothing else is left.
        let mut keys = self.over(transaction, true).await?;
        if keys.is_empty() {
            keys = self.over(transaction, false).await?;
        }
        // Flushes take the rows in this order too.
        keys.sort_unstable();
        let mut closed = 0;
        for (account, meter, start) in keys {
            let changed = usage_summary::Entity::update_many()
                .col_expr(usage_summary::Column::ClosedAt, Expr::value(self.now))
                .filter(usage_summary::Column::AccountId.eq(account))
                .filter(usage_summary::Column::Meter.eq(meter))
                .filter(usage_summary::Column::PeriodStart.eq(start))
                .filter(usage_summary::Column::ClosedAt.is_null())
                .exec(transaction)
                .await?;
            closed += changed.rows_affected;
        }
        Ok(closed)
    }
}

impl Close {
    /// The keys of the oldest that are over: those that nobody holds, which are then held, or all of them.
    async fn over(
        &self,
        transaction: &DatabaseTransaction,
        free: bool,
    ) -> Result<Vec<(Uuid, String, i64)>, Failure> {
        let mut over = usage_summary::Entity::find()
            .select_only()
            .columns([
                usage_summary::Column::AccountId,
                usage_summary::Column::Meter,
                usage_summary::Column::PeriodStart,
            ])
            .filter(usage_summary::Column::ClosedAt.is_null())
            .filter(usage_summary::Column::PeriodEnd.lte(self.ended))
            .order_by_asc(usage_summary::Column::PeriodEnd)
            .limit(self.limit);
        if free {
            over = over.lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        }
        Ok(over.into_tuple().all(transaction).await?)
    }
}

/// Something that was found out about a closed period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Events to be added.
    pub count: i64,
    /// Units to be added; below zero to be taken away.
    pub units: i64,
    /// Why, for people; at most 255 characters.
    pub reason: String,
    /// Whether it was recorded late, and not decided by somebody.
    pub late: bool,
    /// When it was made.
    pub at: Timestamp,
}

/// What an account used of a meter in a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodSummary {
    /// Which period.
    pub period: Period,
    /// The plan at the last flush; none when it isn't known.
    pub plan: Option<PlanId>,
    /// The limit at the last flush; none when unlimited.
    pub limit: Option<Units>,
    /// Events that were charged.
    pub count: u64,
    /// Units that were charged, without corrections.
    pub units: Units,
    /// When it was closed; an open one goes on growing.
    pub closed_at: Option<Timestamp>,
    /// What was found out after that, in the order it was.
    pub corrections: Vec<Correction>,
}

impl PeriodSummary {
    /// Units with all corrections, at least zero.
    #[must_use]
    pub fn corrected(&self) -> Units {
        let sum = self
            .corrections
            .iter()
            .fold(self.units.as_i64(), |sum, correction| {
                sum.saturating_add(correction.units)
            });
        Units::from_i64(sum.max(0))
    }
}

/// Adds a correction to a closed summary, such as a credit after a fault.
///
/// # Errors
///
/// [`NotFound`](hm_metering::StoreErrorKind::NotFound) when the account has no closed summary of the meter for a period that begins at
/// `period_start`. [`Invalid`](hm_metering::StoreErrorKind::Invalid) when the reason is empty, too long or has a NUL.
pub async fn correct(
    store: &SeaOrmStore,
    account: AccountId,
    meter: &MeterName,
    period_start: Timestamp,
    correction: &Correction,
) -> StoreResult<()> {
    let row = usage_correction::Model {
        id: Uuid::new_v4(),
        account_id: account.as_uuid(),
        meter: meter.as_str().to_owned(),
        period_start: period_start.as_micros(),
        kind: MANUAL.to_owned(),
        count: correction.count,
        units: correction.units,
        reason: correction.reason.clone(),
        created_at: correction.at.as_micros(),
    };
    store.transact("correct a summary", Correct(row)).await
}

/// The most characters of a correction's reason.
const REASON_MAX: usize = 255;

struct Correct(usage_correction::Model);

#[async_trait]
impl Work for Correct {
    type Answer = ();

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        let row = &self.0;
        if row.reason.trim().is_empty() {
            return Err(Failure::INVALID);
        }
        must_fit(&row.reason, REASON_MAX)?;
        let key = (row.account_id, row.meter.clone(), row.period_start);
        usage_summary::Entity::find_by_id(key)
            .filter(usage_summary::Column::ClosedAt.is_not_null())
            .one(transaction)
            .await?
            .ok_or(Failure::Refused(hm_metering::StoreErrorKind::NotFound))?;
        usage_correction::Entity::insert(row.clone().into_active_model().reset_all())
            .exec_without_returning(transaction)
            .await?;
        Ok(())
    }
}

/// The summaries of an account and meter whose periods begin in a range, in order of time, at most a thousand.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn summaries(
    store: &SeaOrmStore,
    account: AccountId,
    meter: &MeterName,
    (from, to): (Timestamp, Timestamp),
) -> StoreResult<Vec<PeriodSummary>> {
    let meter = meter.as_str().to_owned();
    store
        .read("read summaries", meter, move |db, meter| async move {
            let rows = usage_summary::Entity::find()
                .filter(usage_summary::Column::AccountId.eq(account.as_uuid()))
                .filter(usage_summary::Column::Meter.eq(meter.as_str()))
                .filter(usage_summary::Column::PeriodStart.gte(from.as_micros()))
                .filter(usage_summary::Column::PeriodStart.lt(to.as_micros()))
                .order_by_asc(usage_summary::Column::PeriodStart)
                .limit(1_000)
                .all(&db)
                .await?;
            let corrections = usage_correction::Entity::find()
                .filter(usage_correction::Column::AccountId.eq(account.as_uuid()))
                .filter(usage_correction::Column::Meter.eq(meter.as_str()))
                .filter(usage_correction::Column::PeriodStart.gte(from.as_micros()))
                .filter(usage_correction::Column::PeriodStart.lt(to.as_micros()))
                .order_by_asc(usage_correction::Column::CreatedAt)
                .order_by_asc(usage_correction::Column::Id)
                .all(&db)
                .await?;
            Ok(rows.iter().map(|row| summary(row, &corrections)).collect())
        })
        .await
}

fn summary(row: &usage_summary::Model, corrections: &[usage_correction::Model]) -> PeriodSummary {
    let of_this = corrections
        .iter()
        .filter(|correction| correction.period_start == row.period_start);
    PeriodSummary {
        period: Period {
            start: Timestamp::from_micros(row.period_start),
            end: Timestamp::from_micros(row.period_end),
        },
        plan: PlanId::parse(&row.tier).ok(),
        limit: row.quota_limit.map(Units::from_i64),
        count: u64::try_from(row.count).unwrap_or_default(),
        units: Units::from_i64(row.units),
        closed_at: row.closed_at.map(Timestamp::from_micros),
        corrections: of_this
            .map(|correction| Correction {
                count: correction.count,
                units: correction.units,
                reason: correction.reason.clone(),
                late: correction.kind != MANUAL,
                at: Timestamp::from_micros(correction.created_at),
            })
            .collect(),
    }
}
