//! Listing events.

use hm_metering::page::{Page, PageRequest};
use hm_metering::usage::{Event, UsageQuery};
use sea_orm::{ColumnTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};

use crate::entity::usage_event::{Column, Entity};
use crate::error::Failure;
use crate::store::cursor::Cursor;
use crate::store::usage::event;

const LIST: &str = "events";

pub(in crate::store::usage) async fn recent(
    db: &DatabaseConnection,
    query: &UsageQuery,
    page: &PageRequest,
) -> Result<Page<Event>, Failure> {
    let limit = page.clamped_limit();
    let mut rows = select(query, page)?.all(db).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more);
    let next = last.map(|row| Cursor::new(row.created_at, row.id).text(LIST));
    let items = rows.into_iter().map(event::from_row).collect::<Result<_, _>>()?;
    Ok(Page { items, next })
}

/// One row more than the page has.
pub(super) fn select(query: &UsageQuery, page: &PageRequest) -> Result<Select<Entity>, Failure> {
    let mut select = Entity::find()
        .filter(Column::AccountId.eq(query.account.as_uuid()))
        .filter(Column::CreatedAt.gte(query.from.as_micros()))
        .filter(Column::CreatedAt.lt(query.to.as_micros()))
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .limit(page.clamped_limit() as u64 + 1);
    if let Some(key) = query.key {
        select = select.filter(Column::KeyId.eq(key.as_uuid()));
    }
    if let Some(cursor) = &page.cursor {
        select = select.filter(Cursor::parse(LIST, cursor)?.after(Column::CreatedAt, Column::Id));
    }
    Ok(select)
}
