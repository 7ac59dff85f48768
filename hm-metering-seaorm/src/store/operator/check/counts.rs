//! How many charged events summaries speak of, against the events themselves, period by period.

use std::collections::{BTreeMap, HashMap};

use hm_metering::{AccountId, MeterName, Units};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, Statement,
};

use super::Pruned;
use super::periods::{difference, merged};
use crate::entity::{usage_correction, usage_summary};
use crate::error::Failure;
use crate::sql;
use crate::store::operator::compare::{Counted, Difference, EDGE, Witness, differing};
use crate::store::usage::question::{Text, number};
use crate::store::usage::summary::MANUAL;

/// Summaries, open and closed, with what came too late for them. Where events were pruned nothing else knows how many there
/// were.
pub(super) async fn compare(
    view: &DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
) -> Result<Vec<Difference>, Failure> {
    let mut events = Events {
        view,
        account,
        pruned,
        known: HashMap::new(),
    };
    let mut differences = Vec::new();
    for (meter, spans) in summarised(view, account).await? {
        let mut stretches = Vec::new();
        for mut stretch in merged(spans) {
            if stretch.start < pruned.events {
                continue;
            }
            stretch.charged = events.charged((stretch.start, stretch.end), &meter).await?;
            if stretch.charged != stretch.counted {
                stretch.just_before = events.last_moments(stretch.start, &meter).await?;
                stretch.last = events.last_moments(stretch.end, &meter).await?;
            }
            stretches.push(stretch);
        }
        for stretch in differing(&stretches) {
            let name = MeterName::parse(&meter).map_err(Failure::unreadable)?;
            differences.push(Difference {
                what: Counted::Charged(name),
                events: Some(Units::from_i64(stretch.charged)),
                rollups: Some(Units::from_i64(stretch.counted)),
                ..difference(account, &meter, (stretch.start, stretch.end), Witness::Summary)?
            });
        }
    }
    Ok(differences)
}

/// Where each period of a meter begins and ends, and how many events are said to have been charged in it.
async fn summarised(
    view: &DatabaseTransaction,
    account: AccountId,
) -> Result<BTreeMap<String, Vec<(i64, i64, i64)>>, Failure> {
    let mut late: HashMap<(String, i64), i64> = HashMap::new();
    let rows = usage_correction::Entity::find()
        .filter(usage_correction::Column::AccountId.eq(account.as_uuid()))
        .filter(usage_correction::Column::Kind.ne(MANUAL))
        .all(view)
        .await?;
    for row in rows {
        *late.entry((row.meter, row.period_start)).or_default() += row.count;
    }
    let rows = usage_summary::Entity::find()
        .filter(usage_summary::Column::AccountId.eq(account.as_uuid()))
        .order_by_asc(usage_summary::Column::PeriodStart)
        .all(view)
        .await?;
    let mut by_meter: BTreeMap<String, Vec<(i64, i64, i64)>> = BTreeMap::new();
    for row in rows {
        let key = (row.meter, row.period_start);
        let count = row.count + late.get(&key).copied().unwrap_or(0);
        let span = (row.period_start, row.period_end, count);
        by_meter.entry(key.0).or_default().push(span);
    }
    Ok(by_meter)
}

/// The events of an account. What was asked for one meter is remembered for the others.
struct Events<'a> {
    view: &'a DatabaseTransaction,
    account: AccountId,
    pruned: Pruned,
    known: HashMap<(i64, i64), HashMap<String, i64>>,
}

impl Events<'_> {
    /// How many in a range were charged units of a meter.
    async fn charged(&mut self, range: (i64, i64), meter: &str) -> Result<i64, Failure> {
        if !self.known.contains_key(&range) {
            let [main, others] = self.statements(range);
            let mut found = HashMap::new();
            for row in self.view.query_all_raw(main).await? {
                found.insert(MeterName::REQUESTS.as_str().to_owned(), number(&row, "n")?);
            }
            for row in self.view.query_all_raw(others).await? {
                found.insert(row.try_get("", "meter")?, number(&row, "n")?);
            }
            self.known.insert(range, found);
        }
        let found = self.known.get(&range).and_then(|found| found.get(meter));
        Ok(found.copied().unwrap_or(0))
    }

    /// Those that came just before `end`.
    async fn last_moments(&mut self, end: i64, meter: &str) -> Result<i64, Failure> {
        let from = end.saturating_sub(EDGE);
        if from < self.pruned.events {
            return Ok(0);
        }
        self.charged((from, end), meter).await
    }

    /// Of `requests`, and of the other meters.
    fn statements(&self, (from, to): (i64, i64)) -> [Statement; 2] {
        let backend = self.view.get_database_backend();
        let ask = |columns: &str, tables: &str, rest: &str| {
            let mut text = Text::new(backend, "SELECT ");
            text.push(&format!("{columns} FROM {tables} WHERE account_id = "));
            text.bind(self.account.as_uuid());
            text.push(" AND created_at >= ").bind(from);
            text.push(" AND created_at < ").bind(to);
            text.push(rest);
            text.statement()
        };
        let entries = sql::json_entries(backend, "usage_events", "meter_units");
        [
            ask("COUNT(*) AS n", "usage_events", " AND units > 0"),
            ask(
                "entry.key AS meter, COUNT(*) AS n",
                &format!("usage_events, {}", entries.from),
                &format!(
                    " AND meter_units IS NOT NULL AND {} > 0 GROUP BY 1",
                    entries.value
                ),
            ),
        ]
    }
}
