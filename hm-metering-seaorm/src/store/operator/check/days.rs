//! Rollups against events, day by day: what can be counted and added up.

use std::collections::BTreeMap;

use hm_metering::{AccountId, MeterName, Units};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, QueryResult, Statement};

use super::{Checked, Pruned, day_of, grain, on_day};
use crate::error::Failure;
use crate::sql;
use crate::store::operator::compare::{Counted, Difference, Witness};
use crate::store::usage::question::{Text, number, unreached};

/// The same as the events have it, and the rollups by minute, hour and day, and by route with the same grains.
#[derive(Clone, Copy, Default)]
struct Sums {
    events: i64,
    rollups: [i64; 3],
    endpoints: [i64; 3],
}

/// What an account did, by day.
#[derive(Default)]
pub(super) struct Days(BTreeMap<(i64, Counted), Sums>);

impl Days {
    fn of(&mut self, day: i64, what: Counted) -> &mut Sums {
        self.0.entry((day, what)).or_default()
    }

    /// Each day that has anything, with how many events it has: by the events where they are all there, else by the sums.
    pub(super) fn events(&self, pruned: Pruned) -> impl Iterator<Item = (i64, i64)> {
        self.0
            .iter()
            .filter(|((_, what), _)| *what == Counted::Events)
            .map(move |((day, _), sums)| (*day, expected(*day, sums, pruned)))
    }
}

/// What the others are held against: the events, or, where they may be missing, the sums by day.
fn expected(day: i64, sums: &Sums, pruned: Pruned) -> i64 {
    if day >= pruned.events {
        sums.events
    } else {
        sums.rollups[2]
    }
}

pub(super) async fn gather(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
) -> Result<Days, Failure> {
    let mut days = Days::default();
    events(view, account, pruned, &mut days).await?;
    rollups(view, account, &mut days).await?;
    endpoints(view, account, &mut days).await?;
    Ok(days)
}

pub(super) fn compare(
    days: &Days,
    account: AccountId,
    pruned: Pruned,
    checked: &mut Checked,
) -> Vec<Difference> {
    let mut differences = Vec::new();
    for ((day, what), sums) in &days.0 {
        checked.days += u64::from(matches!(what, Counted::Events | Counted::Units(_)));
        let shown = (*day >= pruned.events).then(|| Units::from_i64(sums.events));
        for (witness, rollups) in differing(*day, what, sums, pruned) {
            differences.push(Difference {
                events: shown,
                rollups: Some(Units::from_i64(rollups)),
                ..on_day(account, *day, what.clone(), witness)
            });
        }
    }
    differences
}

/// The sums that are not what they should be.
fn differing(day: i64, what: &Counted, sums: &Sums, pruned: Pruned) -> Vec<(Witness, i64)> {
    let expected = expected(day, sums, pruned);
    // Sums by minute, which come first, may have been pruned.
    let first = usize::from(day < pruned.minutes);
    let mut differing: Vec<_> = Witness::BY_GRAIN
        .into_iter()
        .zip(sums.rollups)
        .skip(first)
        .filter(|(_, rollups)| *rollups != expected)
        .collect();
    if is_by_route(what) {
        let wrong = sums.endpoints[first..].iter().find(|sum| **sum != expected);
        differing.extend(wrong.map(|sum| (Witness::Endpoints, *sum)));
    }
    differing
}

/// Of routes there are neither units of other meters nor times.
fn is_by_route(what: &Counted) -> bool {
    match what {
        Counted::Events | Counted::Refused | Counted::Failed => true,
        Counted::Units(meter) => *meter == MeterName::REQUESTS,
        _ => false,
    }
}

/// The columns of a statement that counts and adds up, and what each says.
struct Columns {
    /// The expression of the day.
    day: String,
    /// Selected as `c0`, `c1` and so on.
    of: Vec<(Counted, String)>,
}

impl Columns {
    fn text(&self) -> String {
        let named = self.of.iter().enumerate();
        let columns: Vec<_> = named
            .map(|(place, (_, expression))| format!("{expression} AS c{place}"))
            .collect();
        format!("{} AS grp, {}", self.day, columns.join(", "))
    }

    fn read(&self, row: &QueryResult) -> Result<Vec<(Counted, i64)>, Failure> {
        let named = self.of.iter().enumerate();
        named
            .map(|(place, (what, _))| Ok((what.clone(), number(row, &format!("c{place}"))?)))
            .collect()
    }

    fn of_events(backend: DbBackend) -> Self {
        let (sum, unreached) = (|what: &str| sql::capped_sum(backend, what), unreached());
        let (there, not) = (
            format!("outcome NOT IN ({unreached})"),
            format!("outcome IN ({unreached})"),
        );
        let when = |condition: &str, value: &str| format!("CASE WHEN {condition} THEN {value} ELSE 0 END");
        let of = vec![
            (Counted::Events, sum("1")),
            (Counted::Units(MeterName::REQUESTS), sum("units")),
            (Counted::Refused, sum(&when(&not, "1"))),
            (
                Counted::Failed,
                sum(&when(&format!("{there} AND status >= 500"), "1")),
            ),
            (Counted::ResponseTime, sum(&when(&there, "response_time_us"))),
            (
                Counted::LongestResponse,
                longest(backend, &when(&there, "response_time_us")),
            ),
        ];
        let day = day_of("created_at");
        Self { day, of }
    }

    fn of_endpoints(backend: DbBackend) -> Self {
        let sum = |column: &str| sql::capped_sum(backend, column);
        let of = vec![
            (Counted::Events, sum("requests")),
            (Counted::Units(MeterName::REQUESTS), sum("units")),
            (Counted::Refused, sum("refused")),
            (Counted::Failed, sum("failed")),
        ];
        let day = day_of("bucket_start");
        Self { day, of }
    }

    fn of_rollups(backend: DbBackend) -> Self {
        let mut columns = Self::of_endpoints(backend);
        columns.of.extend([
            (
                Counted::ResponseTime,
                sql::capped_sum(backend, "response_time_us_sum"),
            ),
            (Counted::LongestResponse, longest(backend, "response_time_us_max")),
        ]);
        columns
    }
}

/// The greatest, at most what rollups keep.
fn longest(backend: DbBackend, expression: &str) -> String {
    let (least, max) = (sql::least(backend), Units::MAX.get());
    sql::integer(backend, &format!("{least}(MAX({expression}), {max})"))
}

async fn events(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
    days: &mut Days,
) -> Result<(), Failure> {
    let backend = view.get_database_backend();
    let ask = |columns: &str, from: &str, rest: &str| {
        let mut text = Text::new(backend, "SELECT ");
        text.push(&format!("{columns} FROM {from} WHERE account_id = "));
        text.bind(account.as_uuid());
        text.push(" AND created_at >= ").bind(pruned.events);
        text.push(rest);
        text.statement()
    };
    let columns = Columns::of_events(backend);
    let main = ask(&columns.text(), "usage_events", " GROUP BY 1");
    for row in view.query_all_raw(main).await? {
        let day = number(&row, "grp")?;
        for (what, sum) in columns.read(&row)? {
            days.of(day, what).events = sum;
        }
    }
    let entries = sql::json_entries(backend, "usage_events", "meter_units");
    let others = ask(
        &format!(
            "{} AS grp, entry.key AS meter, {} AS charged",
            columns.day,
            sql::capped_sum(backend, &entries.value)
        ),
        &format!("usage_events, {}", entries.from),
        " AND meter_units IS NOT NULL GROUP BY 1, 2",
    );
    for row in view.query_all_raw(others).await? {
        let what = Counted::Units(meter(&row)?);
        days.of(number(&row, "grp")?, what).events = number(&row, "charged")?;
    }
    Ok(())
}

/// All sums of an account in a table, by day and grain.
fn sums(backend: DbBackend, account: AccountId, columns: &str, table: &str, group: &str) -> Statement {
    let mut text = Text::new(backend, "SELECT ");
    text.push(&format!("grain, {columns} FROM {table} WHERE account_id = "));
    text.bind(account.as_uuid());
    text.push(&format!(" GROUP BY {group}"));
    text.statement()
}

async fn rollups(view: &DatabaseTransaction, account: AccountId, days: &mut Days) -> Result<(), Failure> {
    let backend = view.get_database_backend();
    let columns = Columns::of_rollups(backend);
    let main = sums(backend, account, &columns.text(), "usage_rollup_sums", "1, 2");
    for row in view.query_all_raw(main).await? {
        let (day, grain) = (number(&row, "grp")?, grain(&row)?);
        for (what, sum) in columns.read(&row)? {
            days.of(day, what).rollups[grain] = sum;
        }
    }
    let charged = format!(
        "{} AS grp, meter, {} AS charged",
        columns.day,
        sql::capped_sum(backend, "units")
    );
    let others = sums(backend, account, &charged, "usage_rollup_units", "1, 2, meter");
    for row in view.query_all_raw(others).await? {
        let what = Counted::Units(meter(&row)?);
        let grain = grain(&row)?;
        days.of(number(&row, "grp")?, what).rollups[grain] = number(&row, "charged")?;
    }
    Ok(())
}

async fn endpoints(view: &DatabaseTransaction, account: AccountId, days: &mut Days) -> Result<(), Failure> {
    let backend = view.get_database_backend();
    let columns = Columns::of_endpoints(backend);
    let main = sums(
        backend,
        account,
        &columns.text(),
        "usage_rollup_endpoints",
        "1, 2",
    );
    for row in view.query_all_raw(main).await? {
        let (day, grain) = (number(&row, "grp")?, grain(&row)?);
        for (what, sum) in columns.read(&row)? {
            days.of(day, what).endpoints[grain] = sum;
        }
    }
    Ok(())
}

fn meter(row: &QueryResult) -> Result<MeterName, Failure> {
    MeterName::parse(&row.try_get::<String>("", "meter")?).map_err(Failure::unreadable)
}
