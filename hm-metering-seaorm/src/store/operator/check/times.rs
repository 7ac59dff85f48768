//! Sketches of response times against the times of events, day by day.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use hm_metering::usage::Grain;
use hm_metering::{AccountId, Units};
use sea_orm::{DatabaseTransaction, DbBackend, QueryResult, Statement, StreamTrait};
use sha2::{Digest, Sha256};

use super::{Pruned, on_day};
use crate::error::Failure;
use crate::store::operator::compare::{Counted, Difference, Witness};
use crate::store::usage::question::{Text, number, unreached};
use crate::store::usage::rollup::{self, GRAINS};
use crate::store::usage::sketch::Sketch;

const DAY: i64 = Grain::Day.micros();

/// The times of a day, in brief: two that are the same have the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Times {
        count: u64,
        digest: [u8; 32],
    },
    /// Bytes that no sketch has.
    Unreadable,
}

impl Seen {
    const NONE: Self = Self::Times {
        count: 0,
        digest: [0; 32],
    };

    fn of(sketch: &Sketch) -> Result<Self, Failure> {
        match sketch.count() {
            0 => Ok(Self::NONE),
            count => Ok(Self::Times {
                count,
                digest: Sha256::digest(sketch.bytes()?).into(),
            }),
        }
    }

    fn count(self) -> Option<Units> {
        match self {
            Self::Times { count, .. } => Some(Units::new(count)),
            Self::Unreadable => None,
        }
    }
}

/// By where the day begins.
type Days = BTreeMap<i64, Seen>;

/// Rows are read one after the other and memory grows with the days, however many events and sums there are.
pub(super) async fn compare(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
) -> Result<Vec<Difference>, Failure> {
    let backend = StreamTrait::get_database_backend(view);
    let events = fold(view, of_events(backend, account, pruned), add_time).await?;
    let mut grains: [Days; 3] = Default::default();
    for (place, grain) in GRAINS.into_iter().enumerate() {
        grains[place] = fold(view, of_sums(backend, account, grain), add_sketch).await?;
    }
    let mut days: Vec<i64> = grains
        .iter()
        .chain([&events])
        .flat_map(BTreeMap::keys)
        .copied()
        .collect();
    days.sort_unstable();
    days.dedup();
    let on = |seen: &Days, day: i64| seen.get(&day).copied().unwrap_or(Seen::NONE);
    let mut differences = Vec::new();
    for day in days {
        let has_events = day >= pruned.events;
        // Without events, the sums by day are what the others are held against.
        let expected = on(if has_events { &events } else { &grains[2] }, day);
        for (witness, seen) in Witness::BY_GRAIN.into_iter().zip(&grains) {
            let (seen, may_be_missing) = (on(seen, day), witness == Witness::Minutes && day < pruned.minutes);
            let differs = seen != expected && expected != Seen::Unreadable || seen == Seen::Unreadable;
            if differs && !may_be_missing {
                differences.push(Difference {
                    events: expected.count().filter(|_| has_events),
                    rollups: seen.count(),
                    ..on_day(account, day, Counted::ResponseTimes, witness)
                });
            }
        }
    }
    Ok(differences)
}

fn of_events(backend: DbBackend, account: AccountId, pruned: Pruned) -> Statement {
    let mut text = Text::new(
        backend,
        "SELECT created_at AS moment, response_time_us FROM usage_events WHERE account_id = ",
    );
    text.bind(account.as_uuid());
    text.push(" AND created_at >= ").bind(pruned.events);
    text.push(&format!(
        " AND outcome NOT IN ({}) ORDER BY created_at",
        unreached()
    ));
    text.statement()
}

fn of_sums(backend: DbBackend, account: AccountId, grain: Grain) -> Statement {
    let mut text = Text::new(
        backend,
        "SELECT bucket_start AS moment, sketch FROM usage_rollup_sums WHERE account_id = ",
    );
    text.bind(account.as_uuid());
    text.push(" AND grain = ").bind(rollup::number(grain));
    text.push(" ORDER BY bucket_start");
    text.statement()
}

fn add_time(sketch: &mut Sketch, row: &QueryResult) -> Result<(), Failure> {
    // One below zero was never recorded. It is found because it is nowhere in the sketches.
    sketch.add(u64::try_from(number(row, "response_time_us")?).unwrap_or_default())
}

fn add_sketch(sketch: &mut Sketch, row: &QueryResult) -> Result<(), Failure> {
    sketch.add_bytes(&row.try_get::<Vec<u8>>("", "sketch")?)
}

/// What rows in the order of time come to, day by day.
async fn fold(
    view: &DatabaseTransaction,
    statement: Statement,
    add: fn(&mut Sketch, &QueryResult) -> Result<(), Failure>,
) -> Result<Days, Failure> {
    let mut days = Days::new();
    let mut under_way: Option<(i64, Option<Sketch>)> = None;
    let mut rows = view.stream_raw(statement).await?;
    while let Some(row) = rows.try_next().await? {
        let at = number(&row, "moment")?;
        let day = at - at.rem_euclid(DAY);
        if under_way.as_ref().is_none_or(|(current, _)| *current != day) {
            finish(&mut days, under_way.take())?;
            under_way = Some((day, Some(Sketch::new()?)));
        }
        if let Some((_, times)) = &mut under_way
            && let Some(sketch) = times
            && add(sketch, &row).is_err()
        {
            *times = None;
        }
    }
    finish(&mut days, under_way)?;
    Ok(days)
}

fn finish(days: &mut Days, done: Option<(i64, Option<Sketch>)>) -> Result<(), Failure> {
    if let Some((day, times)) = done {
        let seen = times.as_ref().map_or(Ok(Seen::Unreadable), Seen::of)?;
        days.insert(day, seen);
    }
    Ok(())
}
