//! What sums need to know of an event.

use std::collections::BTreeMap;

use hm_metering::usage::Outcome;
use sea_orm::prelude::{Json, Uuid};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, QueryFilter, QueryOrder, QuerySelect,
};

use crate::entity::usage_event::{Column, Entity, Model};
use crate::error::Failure;
use crate::store::cursor::Cursor;

/// How many events are read at a time.
const PAGE: u64 = 5_000;

/// What sums need to know of an event.
#[derive(Clone, Debug)]
pub(in crate::store) struct Fact {
    pub(super) account: Uuid,
    pub(super) key: Uuid,
    pub(super) operation: String,
    pub(super) endpoint: String,
    pub(super) source: String,
    pub(super) status: i32,
    pub(super) reached: bool,
    pub(super) units: i64,
    /// Units of other meters than `requests`.
    pub(super) others: BTreeMap<String, i64>,
    pub(super) response_time_us: u64,
    pub(super) at: i64,
}

/// The columns of an event that are read when its sums are made anew.
#[derive(FromQueryResult)]
struct Row {
    id: Uuid,
    account_id: Uuid,
    key_id: Option<Uuid>,
    operation: String,
    endpoint: String,
    source: Option<String>,
    status: i32,
    outcome: String,
    units: i64,
    meter_units: Option<Json>,
    response_time_us: i64,
    created_at: i64,
}

impl Fact {
    pub(in crate::store) fn of(event: &Model) -> Result<Self, Failure> {
        Self::new(Row {
            id: event.id,
            account_id: event.account_id,
            key_id: event.key_id,
            operation: event.operation.clone(),
            endpoint: event.endpoint.clone(),
            source: event.source.clone(),
            status: event.status,
            outcome: event.outcome.clone(),
            units: event.units,
            meter_units: event.meter_units.clone(),
            response_time_us: event.response_time_us,
            created_at: event.created_at,
        })
    }

    fn new(row: Row) -> Result<Self, Failure> {
        let others = match row.meter_units {
            Some(others) => serde_json::from_value(others).map_err(Failure::unreadable)?,
            None => BTreeMap::new(),
        };
        let outcome = Outcome::parse(&row.outcome).ok_or(Failure::CORRUPT)?;
        Ok(Self {
            account: row.account_id,
            key: row.key_id.unwrap_or_default(),
            operation: row.operation,
            endpoint: row.endpoint,
            source: row.source.unwrap_or_default(),
            status: row.status,
            reached: outcome.reached_handler(),
            units: row.units,
            others,
            response_time_us: u64::try_from(row.response_time_us).map_err(Failure::unreadable)?,
            at: row.created_at,
        })
    }

    pub(super) fn status_class(&self) -> i16 {
        i16::try_from(self.status / 100 % 10).unwrap_or_default()
    }

    /// The next events of one account, or of all, in a range of time, in order of time, after `after`, which is moved.
    pub(in crate::store) async fn next(
        db: &impl ConnectionTrait,
        account: Option<Uuid>,
        (from, to): (i64, i64),
        after: &mut Option<(i64, Uuid)>,
    ) -> Result<Vec<Self>, Failure> {
        let mut select = Entity::find()
            .select_only()
            .columns([
                Column::Id,
                Column::AccountId,
                Column::KeyId,
                Column::Operation,
                Column::Endpoint,
                Column::Source,
                Column::Status,
                Column::Outcome,
                Column::Units,
                Column::MeterUnits,
                Column::ResponseTimeUs,
                Column::CreatedAt,
            ])
            .filter(Column::CreatedAt.gte(from))
            .filter(Column::CreatedAt.lt(to))
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .limit(PAGE);
        if let Some(account) = account {
            select = select.filter(Column::AccountId.eq(account));
        }
        if let Some((at, id)) = *after {
            select = select.filter(Cursor::new(at, id).before(Column::CreatedAt, Column::Id));
        }
        let rows: Vec<Row> = select.into_model().all(db).await?;
        if let Some(last) = rows.last() {
            *after = Some((last.created_at, last.id));
        }
        rows.into_iter().map(Self::new).collect()
    }
}
