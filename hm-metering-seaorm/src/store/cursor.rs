//! Cursors of lists that are ordered by time and id, newest first.

use hm_metering::Timestamp;
use sea_orm::sea_query::{Cond, Condition};
use sea_orm::{ColumnTrait, prelude::Uuid};

use crate::error::Failure;

/// The last item of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    at: i64,
    id: Uuid,
}

impl Cursor {
    pub(super) const fn new(at: i64, id: Uuid) -> Self {
        Self { at, id }
    }

    /// `list` keeps cursors of different lists apart.
    pub(super) fn parse(list: &str, text: &str) -> Result<Self, Failure> {
        let fields = text.strip_prefix(list).and_then(|rest| rest.strip_prefix('.'));
        let (at, id) = fields
            .and_then(|rest| rest.split_once('.'))
            .ok_or(Failure::INVALID)?;
        let cursor = Self {
            at: at.parse().map_err(|_| Failure::INVALID)?,
            id: id.parse().map_err(|_| Failure::INVALID)?,
        };
        let made_here =
            cursor.text(list) == text && Timestamp::from_micros(cursor.at).as_micros() == cursor.at;
        made_here.then_some(cursor).ok_or(Failure::INVALID)
    }

    pub(super) fn text(&self, list: &str) -> String {
        format!("{list}.{}.{}", self.at, self.id.simple())
    }

    /// What comes after it. The first condition alone lets the database begin in the middle of an index.
    pub(super) fn after(&self, at: impl ColumnTrait, id: impl ColumnTrait) -> Condition {
        Cond::all()
            .add(at.lte(self.at))
            .add(Cond::any().add(at.lt(self.at)).add(id.lt(self.id)))
    }

    /// What comes after it in a list that has the oldest first.
    pub(super) fn before(&self, at: impl ColumnTrait, id: impl ColumnTrait) -> Condition {
        Cond::all()
            .add(at.gte(self.at))
            .add(Cond::any().add(at.gt(self.at)).add(id.gt(self.id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_round_trip_and_nothing_else_is_taken_for_one() {
        let cursor = Cursor::new(-5, Uuid::from_u128(7));
        let text = cursor.text("keys");
        assert_eq!(Cursor::parse("keys", &text).unwrap(), cursor);
        for wrong in [
            "",
            "keys",
            "keys.1",
            "keys.x.y",
            "keys.+5.00000000000000000000000000000007",
            "events.1.2",
        ] {
            assert!(Cursor::parse("keys", wrong).is_err(), "{wrong}");
        }
        assert!(Cursor::parse("events", &text).is_err());
    }
}
