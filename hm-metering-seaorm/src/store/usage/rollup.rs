//! Rows of `usage_rollups`: sums of events by hour.

use std::collections::BTreeMap;

use hm_metering::MeterName;
use hm_metering::usage::{Event, Grain};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DatabaseTransaction, EntityTrait};

use crate::entity::usage_rollup::{Column, Entity, Model};
use crate::error::Failure;
use crate::sql;

/// The sums of `events`, in the order of their keys, in which they are locked.
pub(super) fn of(events: &[Event]) -> Vec<Model> {
    let mut sums = BTreeMap::new();
    for event in events {
        let one = row(event);
        let key = (
            one.account_id,
            one.bucket_start,
            one.key_id,
            one.operation.clone(),
            one.source.clone(),
            one.status_class,
        );
        sums.entry(key)
            .and_modify(|sum: &mut Model| {
                sum.count += one.count;
                sum.units = sum.units.saturating_add(one.units);
                sum.response_time_us_sum = sum.response_time_us_sum.saturating_add(one.response_time_us_sum);
                sum.response_time_us_max = sum.response_time_us_max.max(one.response_time_us_max);
            })
            .or_insert(one);
    }
    sums.into_values().collect()
}

fn row(event: &Event) -> Model {
    // Sums are capped like units, so that no total of theirs overflows.
    let response_time_us = hm_metering::Units::new(event.response_time_us).as_i64();
    Model {
        account_id: event.account.as_uuid(),
        bucket_start: Grain::Hour.start_of(event.at).as_micros(),
        key_id: event.key.map(|key| key.as_uuid()).unwrap_or_default(),
        operation: event.operation.as_str().to_owned(),
        source: event
            .source
            .as_deref()
            .unwrap_or_default()
            .replace('\0', "\u{fffd}"),
        status_class: i16::try_from(event.status / 100).unwrap_or(i16::MAX),
        count: 1,
        units: event.units_of(&MeterName::REQUESTS).as_i64(),
        response_time_us_sum: response_time_us,
        response_time_us_max: response_time_us,
    }
}

/// Adds sums to what is there.
pub(super) async fn add(transaction: &DatabaseTransaction, rows: &[Model]) -> Result<(), Failure> {
    let backend = transaction.get_database_backend();
    for chunk in rows.chunks(sql::rows_max(10)) {
        let mut upsert = OnConflict::columns([
            Column::AccountId,
            Column::BucketStart,
            Column::KeyId,
            Column::Operation,
            Column::Source,
            Column::StatusClass,
        ]);
        for column in [Column::Count, Column::Units, Column::ResponseTimeUsSum] {
            upsert.value(column, sql::add_excluded::<Entity>(backend, column));
        }
        upsert.value(
            Column::ResponseTimeUsMax,
            sql::max_excluded::<Entity>(backend, Column::ResponseTimeUsMax),
        );
        Entity::insert_many(sql::to_insert(chunk))
            .on_conflict(upsert)
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}
