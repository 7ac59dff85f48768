//! The text of paging cursors: a position in a list that is ordered by time and id.

use std::str::FromStr;

use uuid::Uuid;

use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::page::{Page, PageRequest};
use crate::time::Timestamp;

/// Where an item stands in a list.
pub(super) type Position = (Timestamp, Uuid);

/// The position after which `page` begins; none for the first page. `list` keeps cursors of different lists apart.
pub(super) fn position(list: char, page: &PageRequest) -> StoreResult<Option<Position>> {
    let Some(text) = page.cursor.as_deref() else {
        return Ok(None);
    };
    parse(list, text)
        .map(Some)
        .ok_or_else(|| StoreError::new(StoreErrorKind::Invalid, "read cursor"))
}

fn parse(list: char, text: &str) -> Option<Position> {
    let (at, id) = text.strip_prefix(list)?.split_once('.')?;
    let position = (
        Timestamp::from_micros(i64::from_str(at).ok()?),
        Uuid::from_str(id).ok()?,
    );
    // Only the very text that we write is ours.
    (write(list, position) == text).then_some(position)
}

fn write(list: char, (at, id): Position) -> String {
    format!("{list}{}.{id}", at.as_micros())
}

/// Cuts a page out of `items`, which begin after the page before and are in the list's order.
pub(super) fn cut<T>(
    list: char,
    page: &PageRequest,
    mut items: impl Iterator<Item = T>,
    place: impl Fn(&T) -> Position,
) -> Page<T> {
    let taken: Vec<T> = items.by_ref().take(page.clamped_limit()).collect();
    let more = items.next().is_some();
    let next = taken.last().filter(|_| more).map(|item| write(list, place(item)));
    Page { items: taken, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_only() {
        let here = (Timestamp::from_micros(-7), Uuid::from_u128(9));
        let text = write('k', here);
        let page = |text: &str| PageRequest {
            limit: 1,
            cursor: Some(text.to_owned()),
        };
        assert_eq!(position('k', &page(&text)).unwrap(), Some(here));
        for bad in [
            text.replace('k', "e"),
            text.to_uppercase(),
            format!("{text} "),
            text.replace("-7", "-07"),
        ] {
            assert_eq!(
                position('k', &page(&bad)).unwrap_err().kind(),
                StoreErrorKind::Invalid
            );
        }
    }
}
