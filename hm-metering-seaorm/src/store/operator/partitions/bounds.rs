//! Which ids each part of the ledger has, as PostgreSQL tells it.

use sea_orm::prelude::Uuid;
use sea_orm::{ConnectionTrait, Statement};

use crate::error::Failure;

/// A range of ids: the first is in it, the end is not. None is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) from: Option<Uuid>,
    pub(super) to: Option<Uuid>,
}

impl Ids {
    pub(super) fn overlap(self, other: Self) -> bool {
        let begins_before_end = |one: Self, other: Self| match (one.from, other.to) {
            (Some(from), Some(to)) => from < to,
            _ => true,
        };
        begins_before_end(self, other) && begins_before_end(other, self)
    }
}

/// A part of the ledger that has a range of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// Its name, quoted where it has to be.
    pub(super) table: String,
    pub(super) ids: Ids,
}

/// The parts of the ledger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partitions {
    /// The name of the one for ids that no other has.
    pub(super) default: String,
    pub(super) ranges: Vec<Partition>,
}

/// None when the ledger is one table.
pub(super) async fn read(db: &impl ConnectionTrait) -> Result<Option<Partitions>, Failure> {
    let text = "SELECT CAST(CAST(part.oid AS regclass) AS text) AS name, \
                pg_get_expr(part.relpartbound, part.oid) AS bound \
                FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid \
                WHERE inhparent = to_regclass('usage_events') ORDER BY 1";
    let rows = db
        .query_all_raw(Statement::from_string(db.get_database_backend(), text))
        .await?;
    let (mut default, mut ranges) = (None, Vec::new());
    for row in rows {
        let table: String = row.try_get("", "name")?;
        // None of one that was dropped just now.
        let bound: Option<String> = row.try_get("", "bound")?;
        match bound.as_deref() {
            None => {}
            Some("DEFAULT") => default = Some(table),
            Some(bound) => {
                let ids = parse(bound).ok_or(Failure::CORRUPT)?;
                ranges.push(Partition { table, ids });
            }
        }
    }
    Ok(default.map(|default| Partitions { default, ranges }))
}

/// Reads `FOR VALUES FROM ('…') TO ('…')`, where either may be without bound.
fn parse(bound: &str) -> Option<Ids> {
    let range = bound.strip_prefix("FOR VALUES FROM (")?.strip_suffix(')')?;
    let (from, to) = range.split_once(") TO (")?;
    let id = |text: &str| match text {
        "MINVALUE" | "MAXVALUE" => Some(None),
        _ => {
            let quoted = text.strip_prefix('\'')?.strip_suffix('\'')?;
            Uuid::parse_str(quoted).ok().map(Some)
        }
    };
    Some(Ids {
        from: id(from)?,
        to: id(to)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(from: Option<u128>, to: Option<u128>) -> Ids {
        Ids {
            from: from.map(Uuid::from_u128),
            to: to.map(Uuid::from_u128),
        }
    }

    #[test]
    fn bounds_are_read_as_the_database_writes_them() {
        let (one, two) = (
            "00000000-0000-0000-0000-000000000001",
            "00000000-0000-0000-0000-000000000002",
        );
        for (text, expected) in [
            (
                format!("FOR VALUES FROM ('{one}') TO ('{two}')"),
                Some(ids(Some(1), Some(2))),
            ),
            (
                format!("FOR VALUES FROM (MINVALUE) TO ('{two}')"),
                Some(ids(None, Some(2))),
            ),
            (
                format!("FOR VALUES FROM ('{one}') TO (MAXVALUE)"),
                Some(ids(Some(1), None)),
            ),
            ("FOR VALUES IN (1)".to_owned(), None),
            ("FOR VALUES FROM ('x') TO ('y')".to_owned(), None),
        ] {
            assert_eq!(parse(&text), expected, "{text}");
        }
    }

    #[test]
    fn ranges_that_only_touch_do_not_overlap() {
        let november = ids(Some(10), Some(20));
        for (other, overlaps) in [
            (ids(Some(20), Some(30)), false),
            (ids(Some(0), Some(10)), false),
            (ids(None, Some(10)), false),
            (ids(None, Some(11)), true),
            (ids(Some(19), None), true),
            (ids(None, None), true),
            (ids(Some(12), Some(13)), true),
        ] {
            assert_eq!(november.overlap(other), overlaps, "{other:?}");
            assert_eq!(other.overlap(november), overlaps, "{other:?}");
        }
    }
}
