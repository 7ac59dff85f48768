//! How many accounts there are that do anything.

use hm_metering::usage::{ActiveAccounts, ActiveSpan, Grain, UsageQuery};
use hm_metering::{AccountId, Timestamp};
use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};

use crate::error::Failure;
use crate::store::usage::question::{Text, count, number, points};

pub(in crate::store) async fn active_accounts(
    db: &DatabaseConnection,
    (from, to): (Timestamp, Timestamp),
    span: ActiveSpan,
) -> Result<Vec<ActiveAccounts>, Failure> {
    let days = UsageQuery::new(AccountId::from_uuid(Uuid::nil()), from, to);
    if points(&days, Grain::Day) > UsageQuery::MAX_POINTS {
        return Err(Failure::INVALID);
    }
    let rows = db
        .query_all_raw(statement(db.get_database_backend(), (from, to), span))
        .await?;
    rows.iter()
        .map(|row| {
            Ok(ActiveAccounts {
                start: Timestamp::from_micros(number(row, "grp")?),
                accounts: count(row, "accounts")?,
            })
        })
        .collect()
}

pub(in crate::store) fn statement(
    backend: DbBackend,
    (from, to): (Timestamp, Timestamp),
    span: ActiveSpan,
) -> Statement {
    let start = match span {
        ActiveSpan::Day => "day_start".to_owned(),
        ActiveSpan::Week => {
            let (day, week) = (Grain::Day.micros(), 7 * Grain::Day.micros());
            // Three days after a Monday's start comes the day that time is counted from. `%` leaves the sign.
            format!("day_start - (((day_start + 3 * {day}) % {week}) + {week}) % {week}")
        }
    };
    let mut text = Text::new(backend, "SELECT ");
    text.push(&format!(
        "{start} AS grp, COUNT(DISTINCT account_id) AS accounts FROM usage_active_days WHERE day_start >= "
    ));
    text.bind(from.as_micros());
    text.push(" AND day_start < ").bind(to.as_micros());
    text.push(" GROUP BY 1 ORDER BY 1");
    text.statement()
}
