//! Rows of `usage_events` and the events they stand for.

use std::collections::BTreeMap;

use hm_metering::usage::{Event, Outcome};
use hm_metering::{AccountId, EventId, KeyId, MeterName, OperationName, ReplicaId, Timestamp, Units, UserId};
use sea_orm::prelude::Json;
use serde_json::Map;

use crate::entity::usage_event::Model;
use crate::error::Failure;
use crate::store::text::fitted;

/// What the columns for texts hold, in characters. An event is not worth losing for a longer one, or for a NUL that a
/// client smuggled in.
const ENDPOINT_MAX: usize = 512;
const METHOD_MAX: usize = 32;
const SOURCE_MAX: usize = 128;
const CODE_MAX: usize = 64;
const REQUEST_ID_MAX: usize = 128;
/// Names and values of tags, which are JSON.
const TAG_MAX: usize = 512;

/// The row of an event.
pub(super) fn to_row(event: &Event) -> Model {
    let response_time_us = capped(event.response_time_us);
    Model {
        id: event.id.as_uuid(),
        account_id: event.account.as_uuid(),
        user_id: event.user.map(|user| user.as_uuid()),
        key_id: event.key.map(|key| key.as_uuid()),
        operation: event.operation.as_str().to_owned(),
        endpoint: fitted(&event.endpoint, ENDPOINT_MAX),
        method: fitted(&event.method, METHOD_MAX),
        source: event.source.as_deref().map(|source| fitted(source, SOURCE_MAX)),
        status: i32::from(event.status),
        grpc_status: event.grpc_status.map(i16::from),
        outcome: event.outcome.as_str().to_owned(),
        refusal: event.refusal.as_deref().map(code),
        would_refuse: event.would_refuse.as_deref().map(code),
        units: event.units_of(&MeterName::REQUESTS).as_i64(),
        meter_units: other_meters(event),
        over: event.over,
        response_time_ms: response_time_us / 1_000,
        response_time_us,
        first_byte_us: event.first_byte_us.map(capped),
        bytes_in: capped(event.bytes_in),
        bytes_out: capped(event.bytes_out),
        request_id: fitted(&event.request_id, REQUEST_ID_MAX),
        replica: Some(event.replica.as_uuid()),
        tags: tags(event),
        created_at: event.at.as_micros(),
    }
}

/// The event that a row stands for.
pub(super) fn from_row(row: Model) -> Result<Event, Failure> {
    let mut units = Vec::new();
    if row.units > 0 {
        units.push((MeterName::REQUESTS, Units::from_i64(row.units)));
    }
    if let Some(others) = row.meter_units {
        let others: Map<String, Json> = serde_json::from_value(others).map_err(Failure::unreadable)?;
        for (meter, count) in others {
            let meter = MeterName::parse(&meter).map_err(Failure::unreadable)?;
            units.push((meter, Units::new(count.as_u64().ok_or(Failure::CORRUPT)?)));
        }
    }
    units.sort_unstable();
    let tags: BTreeMap<String, String> = match row.tags {
        Some(tags) => serde_json::from_value(tags).map_err(Failure::unreadable)?,
        None => BTreeMap::new(),
    };
    let size = |column| u64::try_from(column).map_err(Failure::unreadable);
    Ok(Event {
        id: EventId::from_uuid(row.id),
        at: Timestamp::from_micros(row.created_at),
        account: AccountId::from_uuid(row.account_id),
        user: row.user_id.map(UserId::from_uuid),
        key: row.key_id.map(KeyId::from_uuid),
        operation: OperationName::parse(&row.operation).map_err(Failure::unreadable)?,
        endpoint: row.endpoint.into(),
        method: row.method.into(),
        source: row.source.map(Into::into),
        status: u16::try_from(row.status).map_err(Failure::unreadable)?,
        grpc_status: row
            .grpc_status
            .map(u8::try_from)
            .transpose()
            .map_err(Failure::unreadable)?,
        outcome: Outcome::parse(&row.outcome).ok_or(Failure::CORRUPT)?,
        refusal: row.refusal.map(Into::into),
        would_refuse: row.would_refuse.map(Into::into),
        units,
        over: row.over,
        response_time_us: size(row.response_time_us)?,
        first_byte_us: row.first_byte_us.map(size).transpose()?,
        bytes_in: size(row.bytes_in)?,
        bytes_out: size(row.bytes_out)?,
        request_id: row.request_id,
        // Every row that we wrote has one.
        replica: ReplicaId::from_uuid(row.replica.unwrap_or_default()),
        tags: tags.into_iter().collect(),
    })
}

fn code(refusal: &str) -> String {
    fitted(refusal, CODE_MAX)
}

fn other_meters(event: &Event) -> Option<Json> {
    let others: Map<String, Json> = event
        .units
        .iter()
        .filter(|(meter, units)| *meter != MeterName::REQUESTS && !units.is_zero())
        .map(|(meter, units)| (meter.as_str().to_owned(), Json::from(units.get())))
        .collect();
    (!others.is_empty()).then_some(Json::Object(others))
}

fn tags(event: &Event) -> Option<Json> {
    let tags: Map<String, Json> = event
        .tags
        .iter()
        .map(|(name, value)| (fitted(name, TAG_MAX), Json::from(fitted(value, TAG_MAX))))
        .collect();
    (!tags.is_empty()).then_some(Json::Object(tags))
}

/// Columns are signed.
fn capped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
