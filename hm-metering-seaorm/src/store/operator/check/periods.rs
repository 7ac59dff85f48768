//! Counters against events, rollups, leases and summaries, period by period. Counters of keys are held against the events of
//! these keys, and have no summaries.

use std::collections::{BTreeMap, HashMap};

use hm_metering::period::Period;
use hm_metering::usage::{Grain, UsageQuery};
use hm_metering::{AccountId, KeyId, MeterName, Timestamp, Units};
use sea_orm::prelude::{Json, Uuid};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Checked, Pruned};
use crate::entity::{api_key, quota_counter, quota_lease, usage_correction, usage_summary};
use crate::error::Failure;
use crate::store::keys::row;
use crate::store::operator::compare::{
    Counted as What, Difference, EDGE, Stretch, Witness, differing, differing_of_key,
};
use crate::store::quota::lease;
use crate::store::quota::meter::{self, Counted};
use crate::store::usage::question::{Piece, Source, charged, tile};
use crate::store::usage::summary::MANUAL;

/// A counter of an account or of one of its keys, by how its meter stands in its column and where its period begins.
type Key = (String, i64);

pub(super) async fn compare(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
    checked: &mut Checked,
) -> Result<Vec<Difference>, Failure> {
    let counters = counters(view, account).await?;
    checked.counters += counters.len() as u64;
    let mut differences = leases(view, account, &counters).await?;
    differences.extend(summaries(view, account, &counters).await?);
    let since = quotas_since(view, account, &counters).await?;
    let mut by_meter: BTreeMap<&str, Vec<&quota_counter::Model>> = BTreeMap::new();
    for counter in counters.values() {
        by_meter.entry(&counter.meter).or_default().push(counter);
    }
    let mut ledger = Ledger {
        view,
        account,
        pruned,
        known: HashMap::new(),
    };
    for (column, counters) in by_meter {
        let counted = meter::read(column)?;
        let stretches = ledger.stretches(&counted, &counters, checked).await?;
        let found = match counted.1 {
            None => differing(&stretches),
            Some(_) => differing_of_key(&stretches, since.get(&counted).copied()),
        };
        for stretch in found {
            differences.push(ledger.difference(&counted, stretch).await?);
        }
    }
    Ok(differences)
}

/// Since when meters are counted for keys that have quotas now.
async fn quotas_since(
    view: &DatabaseTransaction,
    account: AccountId,
    counters: &BTreeMap<Key, quota_counter::Model>,
) -> Result<HashMap<Counted, i64>, Failure> {
    let mut since = HashMap::new();
    let mut has_keys = false;
    for (column, _) in counters.keys() {
        has_keys |= meter::read(column)?.1.is_some();
    }
    if !has_keys {
        return Ok(since);
    }
    let keys: Vec<(Uuid, Option<Json>, i64)> = api_key::Entity::find()
        .select_only()
        .columns([
            api_key::Column::Id,
            api_key::Column::Quotas,
            api_key::Column::QuotasSince,
        ])
        .filter(api_key::Column::AccountId.eq(account.as_uuid()))
        .filter(api_key::Column::QuotasSince.is_not_null())
        .into_tuple()
        .all(view)
        .await?;
    for (key, quotas, at) in keys {
        let key = Some(KeyId::from_uuid(key));
        for quota in row::read_quotas(quotas)?.as_slice() {
            since.insert((quota.meter.clone(), key), at);
        }
    }
    Ok(since)
}

/// All counters but those that only stand for an account or key and a meter.
async fn counters(
    view: &DatabaseTransaction,
    account: AccountId,
) -> Result<BTreeMap<Key, quota_counter::Model>, Failure> {
    let rows = quota_counter::Entity::find()
        .filter(quota_counter::Column::AccountId.eq(account.as_uuid()))
        .filter(quota_counter::Column::PeriodStart.gt(i64::MIN))
        .order_by_asc(quota_counter::Column::Meter)
        .order_by_asc(quota_counter::Column::PeriodStart)
        .all(view)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.meter.clone(), row.period_start), row))
        .collect())
}

pub(super) fn difference(
    account: AccountId,
    column: &str,
    (start, end): (i64, i64),
    witness: Witness,
) -> Result<Difference, Failure> {
    let what = match meter::read(column)? {
        (meter, None) => What::Units(meter),
        (meter, Some(key)) => What::UnitsOfKey(key, meter),
    };
    Ok(Difference {
        account,
        what,
        period: Period {
            start: Timestamp::from_micros(start),
            end: Timestamp::from_micros(end),
        },
        witness,
        counter: None,
        events: None,
        rollups: None,
    })
}

/// What counters say is leased, against the leases that are open.
async fn leases(
    view: &DatabaseTransaction,
    account: AccountId,
    counters: &BTreeMap<Key, quota_counter::Model>,
) -> Result<Vec<Difference>, Failure> {
    let mut open: BTreeMap<Key, i64> = BTreeMap::new();
    let rows = quota_lease::Entity::find()
        .filter(quota_lease::Column::AccountId.eq(account.as_uuid()))
        .filter(quota_lease::Column::State.eq(lease::OPEN))
        .all(view)
        .await?;
    for row in rows {
        *open.entry((row.meter, row.period_start)).or_default() += row.granted - row.settled;
    }
    let mut differences = Vec::new();
    for (key, counter) in counters {
        let outstanding = open.remove(key).unwrap_or(0);
        if outstanding != counter.leased {
            let period = (counter.period_start, counter.period_end);
            differences.push(Difference {
                counter: Some(Units::from_i64(counter.leased)),
                events: Some(Units::from_i64(outstanding)),
                ..difference(account, &key.0, period, Witness::Leases)?
            });
        }
    }
    for ((meter, start), outstanding) in open {
        if outstanding != 0 {
            differences.push(Difference {
                events: Some(Units::from_i64(outstanding)),
                ..difference(account, &meter, (start, start), Witness::Leases)?
            });
        }
    }
    Ok(differences)
}

/// Summaries, with what came too late for them, are written with the counters of accounts, each charge once in both.
async fn summaries(
    view: &DatabaseTransaction,
    account: AccountId,
    counters: &BTreeMap<Key, quota_counter::Model>,
) -> Result<Vec<Difference>, Failure> {
    let mut summed: BTreeMap<Key, (i64, i64)> = BTreeMap::new();
    let rows = usage_summary::Entity::find()
        .filter(usage_summary::Column::AccountId.eq(account.as_uuid()))
        .all(view)
        .await?;
    for row in rows {
        let sum = summed
            .entry((row.meter, row.period_start))
            .or_insert((row.period_end, 0));
        sum.1 += row.units;
    }
    let rows = usage_correction::Entity::find()
        .filter(usage_correction::Column::AccountId.eq(account.as_uuid()))
        .filter(usage_correction::Column::Kind.ne(MANUAL))
        .all(view)
        .await?;
    for row in rows {
        if let Some(sum) = summed.get_mut(&(row.meter, row.period_start)) {
            sum.1 += row.units;
        }
    }
    let mut differences = Vec::new();
    for (key, counter) in counters {
        if meter::read(&key.0)?.1.is_some() {
            continue;
        }
        let found = summed.remove(key).map(|(_, units)| units);
        if found.unwrap_or(0) != counter.used {
            let period = (counter.period_start, counter.period_end);
            differences.push(Difference {
                counter: Some(Units::from_i64(counter.used)),
                rollups: found.map(Units::from_i64),
                ..difference(account, &key.0, period, Witness::Summary)?
            });
        }
    }
    for ((meter, start), (end, units)) in summed {
        differences.push(Difference {
            rollups: Some(Units::from_i64(units)),
            ..difference(account, &meter, (start, end), Witness::Summary)?
        });
    }
    Ok(differences)
}

/// What the ledger says was charged in a stretch of time, by meter.
type Charged = BTreeMap<MeterName, Units>;

/// A range of the ledger of an account or of one of its keys, and whether it is asked of the events alone.
type Asked = (i64, i64, bool, Option<KeyId>);

/// The ledger of an account. What was asked for one meter is remembered for the others.
struct Ledger<'a> {
    view: &'a DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
    known: HashMap<Asked, Charged>,
}

impl Ledger<'_> {
    /// The counters with what the ledger has for their time, as far as it can tell.
    async fn stretches(
        &mut self,
        meter: &Counted,
        counters: &[&quota_counter::Model],
        checked: &mut Checked,
    ) -> Result<Vec<Stretch>, Failure> {
        let mut stretches = Vec::new();
        let periods = counters
            .iter()
            .map(|counter| (counter.period_start, counter.period_end, counter.used));
        for mut stretch in merged(periods) {
            let range = (stretch.start, stretch.end);
            if !self.can_tell(range) {
                checked.unchecked += 1;
                continue;
            }
            let rollups = self.units(range, meter, false).await?;
            let events = self.events(range, meter).await?;
            stretch.charged = events.unwrap_or(rollups);
            if stretch.charged != stretch.counted {
                stretch.just_before = self.last_moments(stretch.start, meter).await?;
                stretch.last = self.last_moments(stretch.end, meter).await?;
            }
            stretches.push(stretch);
        }
        Ok(stretches)
    }

    /// A stretch that differs, with all numbers.
    async fn difference(&mut self, meter: &Counted, stretch: Stretch) -> Result<Difference, Failure> {
        let range = (stretch.start, stretch.end);
        let column = meter::written(&meter.0, meter.1);
        Ok(Difference {
            counter: Some(Units::from_i64(stretch.counted)),
            events: self.events(range, meter).await?.map(Units::from_i64),
            rollups: Some(Units::from_i64(self.units(range, meter, false).await?)),
            ..difference(self.account, &column, range, Witness::Counter)?
        })
    }

    /// Whether what is needed for the range is still there.
    fn can_tell(&self, (from, to): (i64, i64)) -> bool {
        tile(from, to, Grain::Day).iter().all(|piece| match piece.source {
            Source::Events => piece.from >= self.pruned.events,
            Source::Rollup(Grain::Minute) => piece.from >= self.pruned.minutes,
            Source::Rollup(Grain::Hour | Grain::Day) => true,
        })
    }

    /// What the events say; none where some may have been pruned.
    async fn events(&mut self, range: (i64, i64), meter: &Counted) -> Result<Option<i64>, Failure> {
        if range.0 < self.pruned.events {
            return Ok(None);
        }
        self.units(range, meter, true).await.map(Some)
    }

    /// Units of requests that came just before `end`.
    async fn last_moments(&mut self, end: i64, meter: &Counted) -> Result<i64, Failure> {
        let range = (end.saturating_sub(EDGE), end);
        if !self.can_tell(range) {
            return Ok(0);
        }
        let only_events = range.0 >= self.pruned.events;
        self.units(range, meter, only_events).await
    }

    async fn units(
        &mut self,
        (from, to): (i64, i64),
        (meter, of_key): &Counted,
        of_events: bool,
    ) -> Result<i64, Failure> {
        let key = (from, to, of_events, *of_key);
        if !self.known.contains_key(&key) {
            let (start, end) = (Timestamp::from_micros(from), Timestamp::from_micros(to));
            let query = UsageQuery {
                key: *of_key,
                ..UsageQuery::new(self.account, start, end)
            };
            let (from, to) = (start.as_micros(), end.as_micros());
            let pieces = if of_events {
                let source = Source::Events;
                vec![Piece { source, from, to }]
            } else {
                tile(from, to, Grain::Day)
            };
            let found = charged(self.view, &query, &pieces).await?;
            self.known.insert(key, found);
        }
        let found = self.known.get(&key).and_then(|charged| charged.get(meter));
        Ok(found.map_or(0, |units| units.as_i64()))
    }
}

/// What was counted in periods as stretches of time that don't overlap: where a plan with other periods followed, several are
/// one. Each is given by its start, its end and its number, in order of their starts.
pub(super) fn merged(periods: impl IntoIterator<Item = (i64, i64, i64)>) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    for (start, end, counted) in periods {
        match stretches.last_mut() {
            Some(last) if start < last.end => {
                last.end = last.end.max(end);
                last.counted += counted;
            }
            _ => stretches.push(Stretch {
                start,
                end,
                counted,
                charged: 0,
                just_before: 0,
                last: 0,
            }),
        }
    }
    stretches
}
