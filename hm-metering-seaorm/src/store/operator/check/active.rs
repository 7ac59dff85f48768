//! Which accounts were active on which days, against their events and sums.

use std::collections::HashSet;

use hm_metering::usage::Grain;
use hm_metering::{AccountId, Units};
use sea_orm::prelude::Uuid;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, EntityTrait,
    QueryFilter, QuerySelect, Statement,
};

use super::days::Days;
use super::{Pruned, on_day};
use crate::entity::usage_active_day::{Column, Entity};
use crate::error::Failure;
use crate::store::operator::compare::{Counted, Difference, Witness};
use crate::store::usage::question::{Text, number};
use crate::store::usage::rollup;

/// How many days are asked for in one statement.
const DAYS: usize = 500;
/// How many days with nothing on them are read at a time.
const PAGE: i64 = 64;

/// The days of an account that have events and are not among its active ones.
pub(super) async fn missing(
    view: &DatabaseTransaction,
    account: AccountId,
    days: &Days,
    pruned: Pruned,
) -> Result<Vec<Difference>, Failure> {
    let with_events: Vec<_> = days.events(pruned).filter(|(_, events)| *events > 0).collect();
    let mut differences = Vec::new();
    for some in with_events.chunks(DAYS) {
        let active: HashSet<i64> = Entity::find()
            .select_only()
            .column(Column::DayStart)
            .filter(Column::AccountId.eq(account.as_uuid()))
            .filter(Column::DayStart.is_in(some.iter().map(|(day, _)| *day)))
            .into_tuple()
            .all(view)
            .await?
            .into_iter()
            .collect();
        let missing = some.iter().filter(|(day, _)| !active.contains(day));
        differences.extend(missing.map(|(day, events)| Difference {
            events: Some(Units::from_i64(*events)),
            rollups: Some(Units::ZERO),
            ..on_day(account, *day, Counted::Events, Witness::ActiveDays)
        }));
    }
    Ok(differences)
}

/// The next active days on which their accounts have neither sums nor events, after `after`, which is moved. They are looked
/// for over all accounts: the index of this table begins with the day.
pub(super) async fn without_events(
    db: &DatabaseConnection,
    after: &mut Option<(i64, Uuid)>,
) -> Result<Vec<Difference>, Failure> {
    let rows = db
        .query_all_raw(statement(db.get_database_backend(), *after))
        .await?;
    let mut differences = Vec::with_capacity(rows.len());
    for row in rows {
        let (day, account) = (number(&row, "day_start")?, row.try_get("", "account_id")?);
        *after = Some((day, account));
        differences.push(Difference {
            events: Some(Units::ZERO),
            rollups: Some(Units::ONE),
            ..on_day(
                AccountId::from_uuid(account),
                day,
                Counted::Events,
                Witness::ActiveDays,
            )
        });
    }
    Ok(differences)
}

fn statement(backend: DbBackend, after: Option<(i64, Uuid)>) -> Statement {
    let day = Grain::Day;
    let mut text = Text::new(
        backend,
        "SELECT day_start, account_id FROM usage_active_days AS active WHERE NOT EXISTS (\
         SELECT 1 FROM usage_rollup_sums AS sums WHERE sums.account_id = active.account_id AND grain = ",
    );
    text.bind(rollup::number(day));
    text.push(
        " AND bucket_start = active.day_start) AND NOT EXISTS (\
         SELECT 1 FROM usage_events AS events WHERE events.account_id = active.account_id \
         AND created_at >= active.day_start AND created_at < active.day_start + ",
    );
    text.bind(day.micros()).push(")");
    if let Some((day, account)) = after {
        text.push(" AND (day_start > ").bind(day);
        text.push(" OR day_start = ").bind(day);
        text.push(" AND account_id > ").bind(account).push(")");
    }
    text.push(" ORDER BY day_start, account_id LIMIT ").bind(PAGE);
    text.statement()
}
