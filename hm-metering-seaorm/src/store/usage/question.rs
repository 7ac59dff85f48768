//! Questions to the ledger. Each begins with the account and a range of time, which an index serves.

use std::collections::BTreeMap;

use hm_metering::page::{Page, PageRequest};
use hm_metering::usage::{Event, Grain, Outcome, SeriesPoint, UsageQuery, UsageTotals};
use hm_metering::{MeterName, Timestamp, Units};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    IsolationLevel, QueryFilter, QueryOrder, QueryResult, QuerySelect, Statement, TransactionOptions,
    TransactionTrait, Value,
};

use super::event;
use crate::entity::usage_event::{Column, Entity};
use crate::error::Failure;
use crate::sql;
use crate::store::cursor::Cursor;

pub(super) async fn recent(
    db: &DatabaseConnection,
    query: &UsageQuery,
    page: &PageRequest,
) -> Result<Page<Event>, Failure> {
    const LIST: &str = "events";
    let limit = page.clamped_limit();
    let mut select = Entity::find()
        .filter(Column::AccountId.eq(query.account.as_uuid()))
        .filter(Column::CreatedAt.gte(query.from.as_micros()))
        .filter(Column::CreatedAt.lt(query.to.as_micros()))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(limit as u64 + 1);
    if let Some(key) = query.key {
        select = select.filter(Column::KeyId.eq(key.as_uuid()));
    }
    if let Some(cursor) = &page.cursor {
        select = select.filter(Cursor::parse(LIST, cursor)?.after(Column::CreatedAt, Column::Id));
    }
    let mut rows = select.all(db).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| Cursor::new(row.created_at, row.id).text(LIST));
    let items = rows.into_iter().map(event::from_row).collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

pub(super) async fn totals(db: &DatabaseConnection, query: &UsageQuery) -> Result<UsageTotals, Failure> {
    let backend = db.get_database_backend();
    let snapshot = snapshot(db).await?;
    let totals = sums(&snapshot, query, &sql::integer(backend, "0"))
        .await?
        .remove(&0)
        .unwrap_or_default();
    snapshot.commit().await?;
    Ok(totals)
}

pub(super) async fn series(
    db: &DatabaseConnection,
    query: &UsageQuery,
    grain: Grain,
) -> Result<Vec<SeriesPoint>, Failure> {
    if points(query, grain) > UsageQuery::MAX_POINTS {
        return Err(Failure::INVALID);
    }
    let length = grain.micros();
    // `%` leaves the sign of the dividend, and times before 1970 are negative.
    let start = format!("created_at - ((created_at % {length}) + {length}) % {length}");
    let snapshot = snapshot(db).await?;
    let sums = sums(&snapshot, query, &start).await?;
    snapshot.commit().await?;
    let point = |(start, totals)| SeriesPoint {
        start: Timestamp::from_micros(start),
        totals,
    };
    Ok(sums.into_iter().map(point).collect())
}

/// How many grains the range touches.
fn points(query: &UsageQuery, grain: Grain) -> u64 {
    if query.to <= query.from {
        return 0;
    }
    let first = query.from.as_micros().div_euclid(grain.micros());
    let last = (query.to.as_micros() - 1).div_euclid(grain.micros());
    u64::try_from(last - first + 1).unwrap_or(u64::MAX)
}

/// The totals of each `group`, an expression over an event's columns.
async fn sums(
    snapshot: &DatabaseTransaction,
    query: &UsageQuery,
    group: &str,
) -> Result<BTreeMap<i64, UsageTotals>, Failure> {
    let backend = snapshot.get_database_backend();
    let range = Range::new(backend, query);
    let unreached = unreached();
    let text = format!(
        "SELECT {group} AS grp, COUNT(*) AS requests, \
         {refused} AS refused, {failed} AS failed, \
         {units} AS units, COUNT(meter_units) AS others \
         FROM usage_events WHERE {range} GROUP BY 1",
        refused = sql::capped_sum(
            backend,
            &format!("CASE WHEN outcome IN ({unreached}) THEN 1 ELSE 0 END")
        ),
        failed = sql::capped_sum(
            backend,
            &format!("CASE WHEN outcome NOT IN ({unreached}) AND status >= 500 THEN 1 ELSE 0 END")
        ),
        units = sql::capped_sum(backend, "units"),
        range = range.text,
    );
    let mut sums: BTreeMap<i64, UsageTotals> = BTreeMap::new();
    let mut others = 0;
    for row in snapshot.query_all_raw(range.statement(text)).await? {
        others += number(&row, "others")?;
        let mut totals = UsageTotals {
            requests: count(&row, "requests")?,
            refused: count(&row, "refused")?,
            failed: count(&row, "failed")?,
            units: BTreeMap::new(),
        };
        add_units(&mut totals, MeterName::REQUESTS, number(&row, "units")?);
        sums.insert(number(&row, "grp")?, totals);
    }
    if others > 0 {
        add_other_meters(snapshot, &range, group, &mut sums).await?;
    }
    Ok(sums)
}

async fn add_other_meters(
    snapshot: &DatabaseTransaction,
    range: &Range,
    group: &str,
    sums: &mut BTreeMap<i64, UsageTotals>,
) -> Result<(), Failure> {
    let backend = snapshot.get_database_backend();
    let entries = sql::json_entries(backend, "usage_events", "meter_units");
    let text = format!(
        "SELECT {group} AS grp, entry.key AS meter, {units} AS units \
         FROM usage_events, {entries} WHERE {range} AND meter_units IS NOT NULL GROUP BY 1, 2",
        units = sql::capped_sum(backend, &entries.value),
        entries = entries.from,
        range = range.text,
    );
    for row in snapshot.query_all_raw(range.statement(text)).await? {
        let meter: String = row.try_get("", "meter")?;
        let meter = MeterName::parse(&meter).map_err(Failure::unreadable)?;
        let totals = sums.entry(number(&row, "grp")?).or_default();
        add_units(totals, meter, number(&row, "units")?);
    }
    Ok(())
}

pub(super) async fn response_times(
    db: &DatabaseConnection,
    query: &UsageQuery,
    quantiles: &[f64],
) -> Result<Option<Vec<u64>>, Failure> {
    if !quantiles.iter().all(|quantile| (0.0..=1.0).contains(quantile)) {
        return Err(Failure::INVALID);
    }
    let snapshot = snapshot(db).await?;
    let times = ranked_times(&snapshot, query, quantiles).await?;
    snapshot.commit().await?;
    Ok(times)
}

async fn ranked_times(
    snapshot: &DatabaseTransaction,
    query: &UsageQuery,
    quantiles: &[f64],
) -> Result<Option<Vec<u64>>, Failure> {
    let backend = snapshot.get_database_backend();
    let range = Range::new(backend, query);
    let reached = format!(
        "FROM usage_events WHERE {} AND outcome NOT IN ({})",
        range.text,
        unreached()
    );
    let counted = snapshot
        .query_one_raw(range.statement(format!("SELECT COUNT(*) AS events {reached}")))
        .await?;
    let events = count(&counted.ok_or(Failure::CORRUPT)?, "events")?;
    if events == 0 {
        return Ok(None);
    }
    let ranks: Vec<u64> = quantiles.iter().map(|quantile| rank(*quantile, events)).collect();
    let mut times = BTreeMap::new();
    for chunk in ranks.chunks(1_000) {
        let mut values = range.values.clone();
        let mut wanted = String::new();
        for rank in chunk {
            values.push(rank.cast_signed().into());
            let comma = if wanted.is_empty() { "" } else { ", " };
            wanted.push_str(comma);
            wanted.push_str(&sql::parameter(backend, values.len()));
        }
        let text = format!(
            "SELECT {place} AS place, response_time_us FROM \
             (SELECT response_time_us, ROW_NUMBER() OVER (ORDER BY response_time_us) AS place {reached}) AS ranked \
             WHERE place IN ({wanted})",
            place = sql::integer(backend, "place"),
        );
        for row in snapshot
            .query_all_raw(Statement::from_sql_and_values(backend, text, values))
            .await?
        {
            times.insert(count(&row, "place")?, count(&row, "response_time_us")?);
        }
    }
    let found: Option<Vec<u64>> = ranks.iter().map(|rank| times.get(rank).copied()).collect();
    found.map(Some).ok_or(Failure::CORRUPT)
}

/// The nearest rank: the smallest place at which at least `quantile` of all are reached.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among more than 2^52 events may be off by one"
)]
fn rank(quantile: f64, events: u64) -> u64 {
    let near = (quantile * events as f64).ceil() as u64;
    // The product may be rounded up past a whole number that is the right answer.
    let below = near.saturating_sub(1);
    let rank = if below as f64 / events as f64 >= quantile {
        below
    } else {
        near
    };
    rank.clamp(1, events)
}

/// One view of the ledger for several statements, whatever is recorded in between.
async fn snapshot(db: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
    // A transaction of SQLite sees one state from its first question on.
    let isolation_level = match db.get_database_backend() {
        DbBackend::Sqlite => None,
        _ => Some(IsolationLevel::RepeatableRead),
    };
    db.begin_with_options(TransactionOptions {
        isolation_level,
        ..TransactionOptions::default()
    })
    .await
}

/// The part of a statement that says which events are meant.
struct Range {
    backend: DbBackend,
    text: String,
    values: Vec<Value>,
}

impl Range {
    fn new(backend: DbBackend, query: &UsageQuery) -> Self {
        let parameter = |number| sql::parameter(backend, number);
        let mut text = format!(
            "account_id = {} AND created_at >= {} AND created_at < {}",
            parameter(1),
            parameter(2),
            parameter(3)
        );
        let mut values: Vec<Value> = vec![
            query.account.as_uuid().into(),
            query.from.as_micros().into(),
            query.to.as_micros().into(),
        ];
        if let Some(key) = query.key {
            text.push_str(&format!(" AND key_id = {}", parameter(4)));
            values.push(key.as_uuid().into());
        }
        Self {
            backend,
            text,
            values,
        }
    }

    fn statement(&self, text: String) -> Statement {
        Statement::from_sql_and_values(self.backend, text, self.values.clone())
    }
}

/// The outcomes of requests that did not reach the handler, as a list in SQL.
fn unreached() -> String {
    format!(
        "'{}', '{}'",
        Outcome::Refused.as_str(),
        Outcome::NotReached.as_str()
    )
}

fn add_units(totals: &mut UsageTotals, meter: MeterName, units: i64) {
    if units > 0 {
        totals.units.insert(meter, Units::from_i64(units));
    }
}

fn number(row: &QueryResult, column: &str) -> Result<i64, Failure> {
    Ok(row.try_get("", column)?)
}

fn count(row: &QueryResult, column: &str) -> Result<u64, Failure> {
    u64::try_from(number(row, column)?).map_err(Failure::unreadable)
}

#[cfg(test)]
mod tests {
    use hm_metering::AccountId;

    use super::*;

    #[test]
    fn the_rank_is_the_smallest_that_reaches_the_share() {
        for (quantile, events, expected) in [
            (0.0, 10, 1),
            (0.5, 10, 5),
            (0.5, 11, 6),
            (0.07, 100, 7),
            (0.29, 100, 29),
            (0.99, 1, 1),
            (1.0, 10, 10),
        ] {
            assert_eq!(rank(quantile, events), expected, "{quantile} of {events}");
        }
    }

    #[test]
    fn a_range_touches_whole_grains() {
        let day = Grain::Day.micros();
        let range = |from, to| {
            let account = AccountId::from_uuid(Default::default());
            UsageQuery::new(account, Timestamp::from_micros(from), Timestamp::from_micros(to))
        };
        assert_eq!(points(&range(0, day), Grain::Day), 1);
        assert_eq!(points(&range(-1, day + 1), Grain::Day), 3);
        assert_eq!(points(&range(5, 5), Grain::Day), 0);
        assert_eq!(points(&range(6, 5), Grain::Day), 0);
    }
}
