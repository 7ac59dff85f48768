//! Rows of `usage_rollup_*`: sums of events by minute, hour and day.

mod add;
#[cfg(feature = "postgres")]
mod arrays;
mod fact;

use std::collections::{BTreeMap, BTreeSet};

use hm_metering::usage::Grain;
use hm_metering::{Timestamp, Units};
use sea_orm::prelude::Uuid;

pub(in crate::store) use self::add::add;
pub(in crate::store) use self::fact::Fact;
use super::sketch::Sketch;
use crate::entity::{usage_active_day, usage_rollup_endpoint, usage_rollup_sum, usage_rollup_unit};
use crate::error::Failure;

/// The grains that sums are kept by, the finest first.
pub(in crate::store) const GRAINS: [Grain; 3] = [Grain::Minute, Grain::Hour, Grain::Day];

/// A grain as its column holds it.
pub(in crate::store) const fn number(grain: Grain) -> i16 {
    match grain {
        Grain::Minute => 0,
        Grain::Hour => 1,
        Grain::Day => 2,
    }
}

/// What some events add to the sums. The rows of each table are in the order of their keys, in which they are locked.
#[derive(Default)]
pub(in crate::store) struct Rollups {
    sums: Vec<usage_rollup_sum::Model>,
    units: Vec<usage_rollup_unit::Model>,
    endpoints: Vec<usage_rollup_endpoint::Model>,
    days: Vec<usage_active_day::Model>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SumKey {
    account: Uuid,
    grain: i16,
    start: i64,
    key: Uuid,
    operation: String,
    source: String,
    status_class: i16,
}

#[derive(Default)]
struct Sums {
    requests: i64,
    refused: i64,
    failed: i64,
    units: i64,
}

impl Sums {
    fn add(&mut self, fact: &Fact) {
        self.requests += 1;
        self.refused += i64::from(!fact.reached);
        self.failed += i64::from(fact.reached && fact.status >= 500);
        self.units = plus(self.units, fact.units);
    }
}

impl Rollups {
    /// The sums of `facts` by every grain.
    pub(in crate::store) fn of(facts: &[Fact]) -> Result<Self, Failure> {
        let mut sums: BTreeMap<SumKey, (Sums, Vec<u64>)> = BTreeMap::new();
        let mut units: BTreeMap<(SumKey, &str), i64> = BTreeMap::new();
        let mut endpoints: BTreeMap<(Uuid, i16, i64, Uuid, &str), Sums> = BTreeMap::new();
        for fact in facts {
            for grain in GRAINS {
                let key = SumKey::of(fact, grain);
                for (meter, count) in &fact.others {
                    let sum = units.entry((key.clone(), meter)).or_default();
                    *sum = plus(*sum, *count);
                }
                let endpoint = (key.account, key.grain, key.start, key.key, fact.endpoint.as_str());
                endpoints.entry(endpoint).or_default().add(fact);
                let (sum, times) = sums.entry(key).or_default();
                sum.add(fact);
                if fact.reached {
                    times.push(fact.response_time_us);
                }
            }
        }
        let rows = sums
            .into_iter()
            .map(|(key, (sums, times))| sum_row(key, &sums, &times));
        Ok(Self {
            sums: rows.collect::<Result<_, _>>()?,
            units: units.into_iter().map(unit_row).collect(),
            endpoints: endpoints.into_iter().map(endpoint_row).collect(),
            days: active_days(facts),
        })
    }
}

impl SumKey {
    fn of(fact: &Fact, grain: Grain) -> Self {
        Self {
            account: fact.account,
            grain: number(grain),
            start: grain.start_of(Timestamp::from_micros(fact.at)).as_micros(),
            key: fact.key,
            operation: fact.operation.clone(),
            source: fact.source.clone(),
            status_class: fact.status_class(),
        }
    }
}

/// Sums stop at the greatest number of units, so that no total of theirs overflows.
fn plus(one: i64, other: i64) -> i64 {
    one.saturating_add(other).min(Units::MAX.as_i64())
}

fn sum_row(key: SumKey, sums: &Sums, times: &[u64]) -> Result<usage_rollup_sum::Model, Failure> {
    let time = |time: &u64| i64::try_from(*time).unwrap_or(i64::MAX);
    Ok(usage_rollup_sum::Model {
        account_id: key.account,
        grain: key.grain,
        bucket_start: key.start,
        key_id: key.key,
        operation: key.operation,
        source: key.source,
        status_class: key.status_class,
        requests: sums.requests,
        refused: sums.refused,
        failed: sums.failed,
        units: sums.units,
        response_time_us_sum: times.iter().map(time).fold(0, plus),
        response_time_us_max: times.iter().map(time).max().unwrap_or(0).min(Units::MAX.as_i64()),
        sketch: Sketch::of(times)?,
    })
}

fn unit_row(((key, meter), units): ((SumKey, &str), i64)) -> usage_rollup_unit::Model {
    usage_rollup_unit::Model {
        account_id: key.account,
        grain: key.grain,
        bucket_start: key.start,
        key_id: key.key,
        operation: key.operation,
        source: key.source,
        status_class: key.status_class,
        meter: meter.to_owned(),
        units,
    }
}

fn active_days(facts: &[Fact]) -> Vec<usage_active_day::Model> {
    let day = |fact: &Fact| Grain::Day.start_of(Timestamp::from_micros(fact.at)).as_micros();
    let days: BTreeSet<(i64, Uuid)> = facts.iter().map(|fact| (day(fact), fact.account)).collect();
    let row = |(day_start, account_id)| usage_active_day::Model {
        day_start,
        account_id,
    };
    days.into_iter().map(row).collect()
}

fn endpoint_row(
    ((account_id, grain, bucket_start, key_id, endpoint), sums): ((Uuid, i16, i64, Uuid, &str), Sums),
) -> usage_rollup_endpoint::Model {
    usage_rollup_endpoint::Model {
        account_id,
        grain,
        bucket_start,
        key_id,
        endpoint: endpoint.to_owned(),
        requests: sums.requests,
        refused: sums.refused,
        failed: sums.failed,
        units: sums.units,
    }
}
