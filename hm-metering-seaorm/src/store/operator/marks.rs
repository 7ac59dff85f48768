//! Rows of `usage_marks`: before which moments events, and sums by minute, may be missing.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, ConnectionTrait, EntityTrait, IntoActiveModel};

use crate::entity::usage_mark::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;

/// Events before it may be missing.
pub(in crate::store) const EVENTS: &str = "events_pruned";
/// Sums by minute before it may be missing.
pub(in crate::store) const MINUTES: &str = "minutes_pruned";

/// Up to where it has come; before all time if it has not begun.
pub(in crate::store) async fn reached(db: &impl ConnectionTrait, name: &str) -> Result<i64, Failure> {
    let found = Entity::find_by_id(name.to_owned()).one(db).await?;
    Ok(found.map_or(i64::MIN, |mark| mark.reached_at))
}

/// Takes note that it has come up to `to`. A mark never goes back.
pub(in crate::store) async fn reach(db: &impl ConnectionTrait, name: &str, to: i64) -> Result<(), Failure> {
    let row = Model {
        name: name.to_owned(),
        reached_at: to,
    };
    let mut upsert = OnConflict::column(Column::Name);
    let column = Column::ReachedAt;
    upsert.value(
        column,
        sql::max_excluded::<Entity>(db.get_database_backend(), column),
    );
    Entity::insert(row.into_active_model().reset_all())
        .on_conflict(upsert)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
