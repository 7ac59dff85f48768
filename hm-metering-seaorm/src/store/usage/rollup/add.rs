//! Adding sums to what is there.

use std::collections::HashMap;

use sea_orm::prelude::Uuid;
use sea_orm::sea_query::{Condition, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, QueryFilter};

use super::Rollups;
#[cfg(feature = "postgres")]
use super::arrays;
use crate::entity::usage_active_day as day;
use crate::entity::{usage_rollup_endpoint as endpoint, usage_rollup_sum as sum, usage_rollup_unit as unit};
use crate::error::Failure;
use crate::sql;
use crate::store::usage::sketch::Sketch;

/// How many rows are asked for by their whole keys in one statement.
const KEYS: usize = 200;

/// Adds sums to what is there, and holds their rows until the transaction ends.
pub(in crate::store) async fn add(db: &impl ConnectionTrait, rollups: &Rollups) -> Result<(), Failure> {
    for chunk in rollups.sums.chunks(sql::rows_max(14)) {
        add_sums(db, chunk).await?;
    }
    for chunk in rollups.units.chunks(sql::rows_max(9)) {
        add_units(db, chunk).await?;
    }
    for chunk in rollups.endpoints.chunks(sql::rows_max(9)) {
        add_endpoints(db, chunk).await?;
    }
    for chunk in rollups.days.chunks(sql::rows_max(2)) {
        add_days(db, chunk).await?;
    }
    Ok(())
}

fn on_sum_conflict() -> OnConflict {
    OnConflict::columns([
        sum::Column::AccountId,
        sum::Column::Grain,
        sum::Column::BucketStart,
        sum::Column::KeyId,
        sum::Column::Operation,
        sum::Column::Source,
        sum::Column::StatusClass,
    ])
}

/// Numbers are added by the database. Sketches can't be: where there was a row, the two sketches are merged here and
/// written back, while the row is held.
async fn add_sums(db: &impl ConnectionTrait, rows: &[sum::Model]) -> Result<(), Failure> {
    let kept = add_numbers(db, rows).await?;
    let added: HashMap<_, _> = rows.iter().map(|row| (key(row), row)).collect();
    let mut merged = Vec::new();
    for mut row in kept {
        let ours = added.get(&key(&row)).ok_or(Failure::CORRUPT)?;
        // One that was there before had at least one event.
        if row.requests > ours.requests && !ours.sketch.is_empty() {
            row.sketch = Sketch::merged(&row.sketch, &ours.sketch)?;
            merged.push(row);
        }
    }
    if merged.is_empty() {
        return Ok(());
    }
    replace_sketches(db, &merged).await
}

/// Adds all but the sketches, and answers with the rows as they are then.
async fn add_numbers(db: &impl ConnectionTrait, rows: &[sum::Model]) -> Result<Vec<sum::Model>, Failure> {
    let backend = db.get_database_backend();
    #[cfg(feature = "postgres")]
    if backend == DbBackend::Postgres {
        let added = sum::Entity::find().from_raw_sql(arrays::add_sums(rows));
        return Ok(added.all(db).await?);
    }
    let mut upsert = on_sum_conflict();
    for column in [
        sum::Column::Requests,
        sum::Column::Refused,
        sum::Column::Failed,
        sum::Column::Units,
        sum::Column::ResponseTimeUsSum,
    ] {
        upsert.value(column, sql::add_excluded::<sum::Entity>(backend, column));
    }
    let max = sum::Column::ResponseTimeUsMax;
    upsert.value(max, sql::max_excluded::<sum::Entity>(backend, max));
    let insert = sum::Entity::insert_many(sql::to_insert(rows)).on_conflict(upsert);
    if db.support_returning() {
        return Ok(insert.exec_with_returning(db).await?);
    }
    insert.exec_without_returning(db).await?;
    held(db, rows).await
}

async fn replace_sketches(db: &impl ConnectionTrait, rows: &[sum::Model]) -> Result<(), Failure> {
    #[cfg(feature = "postgres")]
    if db.get_database_backend() == DbBackend::Postgres {
        db.execute_raw(arrays::replace_sketches(rows)).await?;
        return Ok(());
    }
    let mut replace = on_sum_conflict();
    replace.update_column(sum::Column::Sketch);
    sum::Entity::insert_many(sql::to_insert(rows))
        .on_conflict(replace)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// The rows of these keys, which the transaction holds.
async fn held(db: &impl ConnectionTrait, rows: &[sum::Model]) -> Result<Vec<sum::Model>, Failure> {
    let mut found = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(KEYS) {
        let mut keys = Condition::any();
        for row in chunk {
            keys = keys.add(
                Condition::all()
                    .add(sum::Column::AccountId.eq(row.account_id))
                    .add(sum::Column::Grain.eq(row.grain))
                    .add(sum::Column::BucketStart.eq(row.bucket_start))
                    .add(sum::Column::KeyId.eq(row.key_id))
                    .add(sum::Column::Operation.eq(row.operation.as_str()))
                    .add(sum::Column::Source.eq(row.source.as_str()))
                    .add(sum::Column::StatusClass.eq(row.status_class)),
            );
        }
        found.extend(sum::Entity::find().filter(keys).all(db).await?);
    }
    Ok(found)
}

type Key = (Uuid, i16, i64, Uuid, (String, String), i16);

fn key(row: &sum::Model) -> Key {
    (
        row.account_id,
        row.grain,
        row.bucket_start,
        row.key_id,
        (row.operation.clone(), row.source.clone()),
        row.status_class,
    )
}

async fn add_units(db: &impl ConnectionTrait, rows: &[unit::Model]) -> Result<(), Failure> {
    let backend = db.get_database_backend();
    #[cfg(feature = "postgres")]
    if backend == DbBackend::Postgres {
        db.execute_raw(arrays::add_units(rows)).await?;
        return Ok(());
    }
    let mut upsert = OnConflict::columns([
        unit::Column::AccountId,
        unit::Column::Grain,
        unit::Column::BucketStart,
        unit::Column::KeyId,
        unit::Column::Operation,
        unit::Column::Source,
        unit::Column::StatusClass,
        unit::Column::Meter,
    ]);
    let units = unit::Column::Units;
    upsert.value(units, sql::add_excluded::<unit::Entity>(backend, units));
    unit::Entity::insert_many(sql::to_insert(rows))
        .on_conflict(upsert)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

async fn add_endpoints(db: &impl ConnectionTrait, rows: &[endpoint::Model]) -> Result<(), Failure> {
    let backend = db.get_database_backend();
    #[cfg(feature = "postgres")]
    if backend == DbBackend::Postgres {
        db.execute_raw(arrays::add_endpoints(rows)).await?;
        return Ok(());
    }
    let mut upsert = OnConflict::columns([
        endpoint::Column::AccountId,
        endpoint::Column::Grain,
        endpoint::Column::BucketStart,
        endpoint::Column::KeyId,
        endpoint::Column::Endpoint,
    ]);
    for column in [
        endpoint::Column::Requests,
        endpoint::Column::Refused,
        endpoint::Column::Failed,
        endpoint::Column::Units,
    ] {
        upsert.value(column, sql::add_excluded::<endpoint::Entity>(backend, column));
    }
    endpoint::Entity::insert_many(sql::to_insert(rows))
        .on_conflict(upsert)
        .exec_without_returning(db)
        .await?;
    Ok(())
}

async fn add_days(db: &impl ConnectionTrait, rows: &[day::Model]) -> Result<(), Failure> {
    let mut once = OnConflict::columns([day::Column::DayStart, day::Column::AccountId]);
    if db.get_database_backend() == DbBackend::MySql {
        // A row that stays the same is not written there, and "ignore" would also ignore other mistakes.
        once.update_column(day::Column::DayStart);
    } else {
        once.do_nothing();
    }
    day::Entity::insert_many(sql::to_insert(rows))
        .on_conflict(once)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
