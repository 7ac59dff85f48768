//! Totals and series.

use std::collections::BTreeMap;

use hm_metering::usage::{Grain, SeriesPoint, UsageQuery, UsageTotals};
use hm_metering::{MeterName, Timestamp, Units};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, Statement};

use super::facts::{Facts, Group};
use super::tile::{Piece, tile};
use super::{Text, count, number, snapshot, units};
use crate::error::Failure;
use crate::sql;

/// How sums are told apart: not at all, or by grain.
type By = Option<Grain>;

pub(in crate::store::usage) async fn totals(
    db: &DatabaseConnection,
    query: &UsageQuery,
) -> Result<UsageTotals, Failure> {
    Ok(sums(db, query, None).await?.remove(&0).unwrap_or_default())
}

pub(in crate::store::usage) async fn series(
    db: &DatabaseConnection,
    query: &UsageQuery,
    grain: Grain,
) -> Result<Vec<SeriesPoint>, Failure> {
    if points(query, grain) > UsageQuery::MAX_POINTS {
        return Err(Failure::INVALID);
    }
    let point = |(start, totals)| SeriesPoint {
        start: Timestamp::from_micros(start),
        totals,
    };
    Ok(sums(db, query, Some(grain))
        .await?
        .into_iter()
        .map(point)
        .collect())
}

/// How many grains the range touches.
pub(in crate::store) fn points(query: &UsageQuery, grain: Grain) -> u64 {
    if query.to <= query.from {
        return 0;
    }
    let first = query.from.as_micros().div_euclid(grain.micros());
    let last = (query.to.as_micros() - 1).div_euclid(grain.micros());
    u64::try_from(last - first + 1).unwrap_or(u64::MAX)
}

/// The totals by the start of their grain, or all of them at zero.
async fn sums(
    db: &DatabaseConnection,
    query: &UsageQuery,
    by: By,
) -> Result<BTreeMap<i64, UsageTotals>, Failure> {
    let Some(statements) = statements(db.get_database_backend(), query, by) else {
        return Ok(BTreeMap::new());
    };
    let snapshot = snapshot(db).await?;
    let sums = answers(&snapshot, statements, by).await?;
    snapshot.commit().await?;
    Ok(sums)
}

async fn answers(
    snapshot: &DatabaseTransaction,
    [main, others]: [Statement; 2],
    by: By,
) -> Result<BTreeMap<i64, UsageTotals>, Failure> {
    let mut sums = main_sums(snapshot, main, by).await?;
    add_other_meters(snapshot, others, by, &mut sums).await?;
    Ok(sums)
}

/// What was charged in `pieces` of the query's range, by meter.
pub(in crate::store) async fn charged(
    snapshot: &DatabaseTransaction,
    query: &UsageQuery,
    pieces: &[Piece],
) -> Result<BTreeMap<MeterName, Units>, Failure> {
    if pieces.is_empty() {
        return Ok(BTreeMap::new());
    }
    let statements = statements_of(snapshot.get_database_backend(), query, pieces, None);
    let sums = answers(snapshot, statements, None).await?.remove(&0);
    Ok(sums.unwrap_or_default().units)
}

async fn main_sums(
    snapshot: &DatabaseTransaction,
    statement: Statement,
    by: By,
) -> Result<BTreeMap<i64, UsageTotals>, Failure> {
    let mut sums = BTreeMap::new();
    for row in snapshot.query_all_raw(statement).await? {
        let start = by.map_or(Ok(0), |_| number(&row, "grp"))?;
        let mut totals = UsageTotals {
            requests: count(&row, "requests")?,
            refused: count(&row, "refusals")?,
            failed: count(&row, "failures")?,
            units: BTreeMap::new(),
        };
        let charged = units(&row, "charged")?;
        if !charged.is_zero() {
            totals.units.insert(MeterName::REQUESTS, charged);
        }
        sums.insert(start, totals);
    }
    Ok(sums)
}

async fn add_other_meters(
    snapshot: &DatabaseTransaction,
    statement: Statement,
    by: By,
    sums: &mut BTreeMap<i64, UsageTotals>,
) -> Result<(), Failure> {
    for row in snapshot.query_all_raw(statement).await? {
        let meter: String = row.try_get("", "meter")?;
        let meter = MeterName::parse(&meter).map_err(Failure::unreadable)?;
        let start = by.map_or(Ok(0), |_| number(&row, "grp"))?;
        let charged = units(&row, "charged")?;
        if !charged.is_zero() {
            sums.entry(start).or_default().units.insert(meter, charged);
        }
    }
    Ok(())
}

/// The sums, and those of other meters than `requests`. None for an empty range.
pub(super) fn statements(backend: DbBackend, query: &UsageQuery, by: By) -> Option<[Statement; 2]> {
    let coarsest = by.unwrap_or(Grain::Day);
    let pieces = tile(query.from.as_micros(), query.to.as_micros(), coarsest);
    (!pieces.is_empty()).then(|| statements_of(backend, query, &pieces, by))
}

fn statements_of(backend: DbBackend, query: &UsageQuery, pieces: &[Piece], by: By) -> [Statement; 2] {
    let group = by.map(|grain| Group {
        of_rollup: start_of(grain, "bucket_start"),
        of_event: start_of(grain, "created_at"),
    });
    let facts = |table| Facts {
        query,
        pieces,
        table,
        group: group.as_ref(),
    };
    let sum = |column| sql::capped_sum(backend, column);
    let grouped = if by.is_some() { "grp, " } else { "" };
    let mut main = Text::new(backend, "SELECT ");
    main.push(&format!(
        "{grouped}{} AS requests, {} AS refusals, {} AS failures, {} AS charged FROM ",
        sum("n"),
        sum("refused"),
        sum("failed"),
        sum("units"),
    ));
    facts("usage_rollup_sums").write(&mut main);
    if by.is_some() {
        main.push(" GROUP BY grp");
    }
    let entries = sql::json_entries(backend, "usage_events", "meter_units");
    let mut others = Text::new(backend, "SELECT ");
    others.push(&format!("{grouped}meter, {} AS charged FROM ", sum("units")));
    facts("usage_rollup_units").write_other_meters(&mut others, &entries.from, "entry.key", &entries.value);
    others.push(&format!(" GROUP BY {grouped}meter"));
    [main.statement(), others.statement()]
}

/// `%` leaves the sign of the dividend, and times before 1970 are negative.
fn start_of(grain: Grain, column: &str) -> String {
    let length = grain.micros();
    format!("{column} - (({column} % {length}) + {length}) % {length}")
}

#[cfg(test)]
mod tests {
    use hm_metering::AccountId;

    use super::*;

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
