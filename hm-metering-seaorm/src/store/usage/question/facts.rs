//! The part of a statement that gathers what is to be summed up: rows of rollups, and of events where there are none.

use hm_metering::usage::{Outcome, UsageQuery};
use sea_orm::prelude::Uuid;

use super::Text;
use super::tile::{Piece, Source};
use crate::store::usage::rollup;

/// How rows are told apart: an expression over a row of the rollup, and what says the same of an event.
pub(super) struct Group {
    pub(super) of_rollup: String,
    pub(super) of_event: String,
}

/// Where a statement's facts come from.
pub(super) struct Facts<'a> {
    pub(super) query: &'a UsageQuery,
    pub(super) pieces: &'a [Piece],
    /// The rollup's table.
    pub(super) table: &'a str,
    /// None when all of them are one group.
    pub(super) group: Option<&'a Group>,
}

impl Facts<'_> {
    /// `(SELECT … UNION ALL SELECT …) AS facts` with the columns `grp`, `n`, `refused`, `failed` and `units`. There must be
    /// a piece.
    pub(super) fn write(&self, text: &mut Text) {
        let unreached = unreached();
        let of_event = format!(
            "1 AS n, CASE WHEN outcome IN ({unreached}) THEN 1 ELSE 0 END AS refused, \
             CASE WHEN outcome NOT IN ({unreached}) AND status >= 500 THEN 1 ELSE 0 END AS failed, units \
             FROM usage_events"
        );
        let of_rollup = format!("requests AS n, refused, failed, units FROM {}", self.table);
        self.union(text, &of_event, &of_rollup, "");
    }

    /// The same with the columns `grp`, `meter` and `units`, of other meters than `requests`. `entries` is the table
    /// expression of an event's meters, `meter` and `units` are its columns.
    pub(super) fn write_other_meters(&self, text: &mut Text, entries: &str, meter: &str, units: &str) {
        let of_event = format!("{meter} AS meter, {units} AS units FROM usage_events, {entries}");
        let of_rollup = format!("meter, units FROM {}", self.table);
        self.union(text, &of_event, &of_rollup, " AND meter_units IS NOT NULL");
    }

    fn union(&self, text: &mut Text, of_event: &str, of_rollup: &str, which_events: &str) {
        text.push("(");
        for (place, piece) in self.pieces.iter().enumerate() {
            text.push(if place == 0 {
                "SELECT "
            } else {
                " UNION ALL SELECT "
            });
            let (columns, group) = match piece.source {
                Source::Events => (of_event, self.group.map(|group| &group.of_event)),
                Source::Rollup(_) => (of_rollup, self.group.map(|group| &group.of_rollup)),
            };
            if let Some(group) = group {
                text.push(group).push(" AS grp, ");
            }
            text.push(columns);
            where_is(text, self.query, *piece);
            if piece.source == Source::Events {
                text.push(which_events);
            }
        }
        text.push(") AS facts");
    }
}

/// `WHERE …` for the rows of a piece.
pub(super) fn where_is(text: &mut Text, query: &UsageQuery, piece: Piece) {
    text.push(" WHERE account_id = ").bind(query.account.as_uuid());
    let time = match piece.source {
        Source::Events => "created_at",
        Source::Rollup(grain) => {
            text.push(" AND grain = ").bind(rollup::number(grain));
            "bucket_start"
        }
    };
    text.push(&format!(" AND {time} >= ")).bind(piece.from);
    text.push(&format!(" AND {time} < ")).bind(piece.to);
    if let Some(key) = query.key {
        text.push(" AND key_id = ").bind(key.as_uuid());
    }
}

/// The outcomes of requests that did not reach the handler, as a list in SQL.
pub(in crate::store) fn unreached() -> String {
    format!(
        "'{}', '{}'",
        Outcome::Refused.as_str(),
        Outcome::NotReached.as_str()
    )
}

/// What stands for "none" in rollups, in place of a null.
pub(super) const NO_KEY: Uuid = Uuid::nil();
