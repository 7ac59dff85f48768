//! Rows of `usage_events` and the events they stand for.

use hm_metering::usage::{Event, Outcome};
use hm_metering::{AccountId, EventId, KeyId, MeterName, OperationName, ReplicaId, Timestamp, Units, UserId};
use sea_orm::prelude::Json;
use serde_json::Map;

use crate::entity::usage_event::Model;
use crate::error::Failure;

/// The row of an event that `replica` recorded.
pub(super) fn to_row(event: &Event, replica: ReplicaId) -> Model {
    let response_time_us = i64::try_from(event.response_time_us).unwrap_or(i64::MAX);
    Model {
        id: event.id.as_uuid(),
        account_id: event.account.as_uuid(),
        user_id: event.user.map(|user| user.as_uuid()),
        key_id: event.key.map(|key| key.as_uuid()),
        operation: event.operation.as_str().to_owned(),
        endpoint: clean(&event.endpoint),
        method: clean(&event.method),
        source: event.source.as_deref().map(clean),
        status: i32::from(event.status),
        outcome: event.outcome.as_str().to_owned(),
        refusal: event.refusal.as_deref().map(clean),
        units: event.units_of(&MeterName::REQUESTS).as_i64(),
        meter_units: other_meters(event),
        response_time_ms: response_time_us / 1_000,
        response_time_us,
        request_id: clean(&event.request_id),
        replica: Some(replica.as_uuid()),
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
    Ok(Event {
        id: EventId::from_uuid(row.id),
        at: Timestamp::from_micros(row.created_at),
        account: AccountId::from_uuid(row.account_id),
        user: row.user_id.map(UserId::from_uuid),
        key: row.key_id.map(KeyId::from_uuid),
        operation: OperationName::parse(&row.operation).map_err(Failure::unreadable)?,
        endpoint: row.endpoint,
        method: row.method,
        source: row.source,
        status: u16::try_from(row.status).map_err(Failure::unreadable)?,
        outcome: Outcome::parse(&row.outcome).ok_or(Failure::CORRUPT)?,
        refusal: row.refusal,
        units,
        response_time_us: u64::try_from(row.response_time_us).map_err(Failure::unreadable)?,
        request_id: row.request_id,
    })
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

/// PostgreSQL keeps no NUL in a text. An event is not worth losing for one that a client smuggled in.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
