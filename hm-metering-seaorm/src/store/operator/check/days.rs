//! Rollups against events, day by day.

use std::collections::BTreeMap;

use hm_metering::period::Period;
use hm_metering::usage::Grain;
use hm_metering::{AccountId, MeterName, Timestamp, Units};
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};

use super::{Checked, Pruned};
use crate::error::Failure;
use crate::sql;
use crate::store::operator::compare::{Difference, Witness};
use crate::store::usage::question::{Text, number};

const DAY: i64 = Grain::Day.micros();

/// What is counted: events, or units of a meter.
type What = Option<MeterName>;

/// The same as the events have it, and the rollups by minute, hour and day, and by route with the same grains.
#[derive(Clone, Copy, Default)]
struct Sums {
    events: i64,
    rollups: [i64; 3],
    endpoints: [i64; 3],
}

pub(super) async fn compare(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
    checked: &mut Checked,
) -> Result<Vec<Difference>, Failure> {
    let mut days: BTreeMap<(i64, What), Sums> = BTreeMap::new();
    events(view, account, pruned, &mut days).await?;
    rollups(view, account, &mut days).await?;
    checked.days += days.len() as u64;
    let mut differences = Vec::new();
    for ((day, what), sums) in days {
        for (witness, events, rollups) in differing(day, &what, &sums, pruned) {
            differences.push(Difference {
                account,
                meter: what.clone(),
                period: Period {
                    start: Timestamp::from_micros(day),
                    end: Timestamp::from_micros(day + DAY),
                },
                witness,
                counter: None,
                events: events.map(Units::from_i64),
                rollups: Some(Units::from_i64(rollups)),
            });
        }
    }
    Ok(differences)
}

/// The sums that are not what they should be: what the events say, where they are all there, and what the sums say.
fn differing(day: i64, what: &What, sums: &Sums, pruned: Pruned) -> Vec<(Witness, Option<i64>, i64)> {
    let by_grain = [Witness::Minutes, Witness::Hours, Witness::Days];
    let has_events = day >= pruned.events;
    let has_minutes = day >= pruned.minutes;
    // Without events, the sums by day are what the others are held against.
    let expected = if has_events { sums.events } else { sums.rollups[2] };
    let shown = has_events.then_some(expected);
    let mut differing = Vec::new();
    for (place, witness) in by_grain.into_iter().enumerate() {
        if (place > 0 || has_minutes) && sums.rollups[place] != expected {
            differing.push((witness, shown, sums.rollups[place]));
        }
    }
    // Routes have events and units of `requests` only.
    if what.as_ref().is_none_or(|meter| *meter == MeterName::REQUESTS) {
        let wrong = (0..3).find(|place| (*place > 0 || has_minutes) && sums.endpoints[*place] != expected);
        if let Some(place) = wrong {
            differing.push((Witness::Endpoints, shown, sums.endpoints[place]));
        }
    }
    differing
}

fn day_of(column: &str) -> String {
    format!("{column} - (({column} % {DAY}) + {DAY}) % {DAY}")
}

async fn events(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
    days: &mut BTreeMap<(i64, What), Sums>,
) -> Result<(), Failure> {
    let backend = view.get_database_backend();
    let day = day_of("created_at");
    let ask = |columns: &str, from: &str, also: &str, group: &str| {
        let mut text = Text::new(backend, "SELECT ");
        text.push(&format!(
            "{day} AS grp, {columns} FROM {from} WHERE account_id = "
        ));
        text.bind(account.as_uuid());
        text.push(" AND created_at >= ").bind(pruned.events);
        text.push(&format!("{also} GROUP BY {group}"));
        text.statement()
    };
    let sum = |column: &str| sql::capped_sum(backend, column);
    let main = ask(
        &format!("{} AS counted, {} AS charged", sum("1"), sum("units")),
        "usage_events",
        "",
        "1",
    );
    for row in view.query_all_raw(main).await? {
        let day = number(&row, "grp")?;
        days.entry((day, None)).or_default().events = number(&row, "counted")?;
        days.entry((day, Some(MeterName::REQUESTS))).or_default().events = number(&row, "charged")?;
    }
    let entries = sql::json_entries(backend, "usage_events", "meter_units");
    let others = ask(
        &format!("entry.key AS meter, {} AS charged", sum(&entries.value)),
        &format!("usage_events, {}", entries.from),
        " AND meter_units IS NOT NULL",
        "1, 2",
    );
    for row in view.query_all_raw(others).await? {
        let what = Some(meter(&row.try_get::<String>("", "meter")?)?);
        days.entry((number(&row, "grp")?, what)).or_default().events = number(&row, "charged")?;
    }
    Ok(())
}

async fn rollups(
    view: &DatabaseTransaction,
    account: AccountId,
    days: &mut BTreeMap<(i64, What), Sums>,
) -> Result<(), Failure> {
    let backend = view.get_database_backend();
    let sum = |column: &str| sql::capped_sum(backend, column);
    let ask = |table: &str, columns: &str, group: &str| -> Statement {
        let day = day_of("bucket_start");
        let mut text = Text::new(backend, "SELECT ");
        text.push(&format!(
            "{day} AS grp, grain, {columns} FROM {table} WHERE account_id = "
        ));
        text.bind(account.as_uuid()).push(&format!(" GROUP BY {group}"));
        text.statement()
    };
    let main = format!("{} AS counted, {} AS charged", sum("requests"), sum("units"));
    for table in ["usage_rollup_sums", "usage_rollup_endpoints"] {
        for row in view.query_all_raw(ask(table, &main, "1, 2")).await? {
            let (day, grain) = (number(&row, "grp")?, grain(row.try_get("", "grain")?)?);
            for (what, column) in [(None, "counted"), (Some(MeterName::REQUESTS), "charged")] {
                let sums = days.entry((day, what)).or_default();
                let of_table = if table == "usage_rollup_sums" {
                    &mut sums.rollups
                } else {
                    &mut sums.endpoints
                };
                of_table[grain] = number(&row, column)?;
            }
        }
    }
    let others = ask(
        "usage_rollup_units",
        &format!("meter, {} AS charged", sum("units")),
        "1, 2, meter",
    );
    for row in view.query_all_raw(others).await? {
        let what = Some(meter(&row.try_get::<String>("", "meter")?)?);
        let grain = grain(row.try_get("", "grain")?)?;
        let sums = days.entry((number(&row, "grp")?, what)).or_default();
        sums.rollups[grain] = number(&row, "charged")?;
    }
    Ok(())
}

fn meter(text: &str) -> Result<MeterName, Failure> {
    MeterName::parse(text).map_err(Failure::unreadable)
}

fn grain(number: i16) -> Result<usize, Failure> {
    usize::try_from(number)
        .ok()
        .filter(|grain| *grain < 3)
        .ok_or(Failure::CORRUPT)
}
