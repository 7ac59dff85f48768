//! Going through all accounts that have anything in the ledger, one by one.

use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::entity::{
    quota_counter, usage_event, usage_rollup_endpoint, usage_rollup_sum, usage_rollup_unit, usage_summary,
};

/// The account with the smallest id above `after`. Each table tells its own by its index.
pub(super) async fn next(db: &impl ConnectionTrait, after: Option<Uuid>) -> Result<Option<Uuid>, DbErr> {
    let found = [
        first::<quota_counter::Entity>(db, quota_counter::Column::AccountId, after).await?,
        first::<usage_summary::Entity>(db, usage_summary::Column::AccountId, after).await?,
        first::<usage_event::Entity>(db, usage_event::Column::AccountId, after).await?,
        first::<usage_rollup_sum::Entity>(db, usage_rollup_sum::Column::AccountId, after).await?,
        first::<usage_rollup_unit::Entity>(db, usage_rollup_unit::Column::AccountId, after).await?,
        first::<usage_rollup_endpoint::Entity>(db, usage_rollup_endpoint::Column::AccountId, after).await?,
    ];
    Ok(found.into_iter().flatten().min())
}

async fn first<E: EntityTrait>(
    db: &impl ConnectionTrait,
    account: E::Column,
    after: Option<Uuid>,
) -> Result<Option<Uuid>, DbErr> {
    let mut select = E::find()
        .select_only()
        .column(account)
        .order_by_asc(account)
        .limit(1);
    if let Some(after) = after {
        select = select.filter(account.gt(after));
    }
    select.into_tuple().one(db).await
}
