//! Who and what makes the most requests.

use hm_metering::KeyId;
use hm_metering::usage::{Facet, FacetSums, Grain, UsageQuery};
use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, QueryResult, Statement};

use super::facts::{Facts, Group, NO_KEY};
use super::tile::tile;
use super::{Text, count, units};
use crate::error::Failure;
use crate::sql;

pub(in crate::store::usage) async fn top(
    db: &DatabaseConnection,
    query: &UsageQuery,
    facet: Facet,
    limit: usize,
) -> Result<Vec<FacetSums>, Failure> {
    let Some(statement) = statement(db.get_database_backend(), query, facet, limit)? else {
        return Ok(Vec::new());
    };
    let rows = db.query_all_raw(statement).await?;
    rows.iter().map(|row| sums(row, facet)).collect()
}

fn sums(row: &QueryResult, facet: Facet) -> Result<FacetSums, Failure> {
    let value = match facet {
        Facet::Key => {
            let key: Option<Uuid> = row.try_get("", "grp")?;
            key.filter(|key| *key != NO_KEY)
                .map(|key| KeyId::from_uuid(key).to_string())
        }
        Facet::StatusClass => Some(row.try_get::<i32>("", "grp")?.to_string()),
        _ => {
            Some(row.try_get::<String>("", "grp")?).filter(|text| facet != Facet::Source || !text.is_empty())
        }
    };
    Ok(FacetSums {
        value,
        requests: count(row, "requests")?,
        refused: count(row, "refusals")?,
        failed: count(row, "failures")?,
        units: units(row, "charged")?,
    })
}

/// None for an empty range.
pub(super) fn statement(
    backend: DbBackend,
    query: &UsageQuery,
    facet: Facet,
    limit: usize,
) -> Result<Option<Statement>, Failure> {
    let pieces = tile(query.from.as_micros(), query.to.as_micros(), Grain::Day);
    if pieces.is_empty() {
        return Ok(None);
    }
    let limit = limit.clamp(1, UsageQuery::MAX_TOP) as u64;
    let group = group(backend, facet)?;
    let table = if facet == Facet::Endpoint {
        "usage_rollup_endpoints"
    } else {
        "usage_rollup_sums"
    };
    let sum = |column| sql::capped_sum(backend, column);
    let mut text = Text::new(backend, "SELECT grp, ");
    text.push(&format!(
        "{} AS requests, {} AS refusals, {} AS failures, {} AS charged FROM ",
        sum("n"),
        sum("refused"),
        sum("failed"),
        sum("units"),
    ));
    let facts = Facts {
        query,
        pieces: &pieces,
        table,
        group: Some(&group),
    };
    facts.write(&mut text);
    text.push(" GROUP BY grp ORDER BY requests DESC, grp LIMIT ")
        .bind(limit);
    Ok(Some(text.statement()))
}

fn group(backend: DbBackend, facet: Facet) -> Result<Group, Failure> {
    let same = |column: &str| (column.to_owned(), column.to_owned());
    let (of_rollup, of_event) = match facet {
        Facet::Key => (
            "key_id".to_owned(),
            format!("COALESCE(key_id, {})", no_key(backend)),
        ),
        Facet::Endpoint => same("endpoint"),
        Facet::Operation => same("operation"),
        Facet::Source => ("source".to_owned(), "COALESCE(source, '')".to_owned()),
        Facet::StatusClass => ("status_class + 0".to_owned(), status_class()),
        _ => return Err(Failure::INVALID),
    };
    Ok(Group { of_rollup, of_event })
}

/// The nil UUID as the database has it.
fn no_key(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "CAST('00000000-0000-0000-0000-000000000000' AS uuid)",
        _ => "x'00000000000000000000000000000000'",
    }
}

/// Dividing gives a fraction on some databases and none on others.
fn status_class() -> String {
    let arms: String = (1..=9)
        .map(|class| {
            format!(
                "WHEN status >= {class}00 AND status < {} THEN {class} ",
                (class + 1) * 100
            )
        })
        .collect();
    format!("CASE {arms}ELSE 0 END")
}
