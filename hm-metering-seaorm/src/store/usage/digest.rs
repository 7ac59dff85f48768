//! The digest of a batch's events, by which other events under the same batch id are noticed.

use hm_metering::usage::Event;
use sha2::{Digest, Sha256};

/// SHA-256 over all fields of all events, each with its length, so that no two lists look alike.
///
/// It is stored: a change here makes batches that are repeated across an upgrade look like conflicts.
pub(super) fn of(events: &[Event]) -> Vec<u8> {
    let mut hash = Sha256::new();
    let mut bytes = Vec::with_capacity(512);
    for event in events {
        bytes.clear();
        write(event, &mut bytes);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    hash.finalize().to_vec()
}

fn write(event: &Event, bytes: &mut Vec<u8>) {
    bytes.extend(event.id.as_uuid().as_bytes());
    bytes.extend(event.at.as_micros().to_le_bytes());
    bytes.extend(event.account.as_uuid().as_bytes());
    option(event.user.map(|user| *user.as_uuid().as_bytes()), bytes);
    option(event.key.map(|key| *key.as_uuid().as_bytes()), bytes);
    text(event.operation.as_str(), bytes);
    text(&event.endpoint, bytes);
    text(&event.method, bytes);
    option_text(event.source.as_deref(), bytes);
    bytes.extend(event.status.to_le_bytes());
    option(event.grpc_status.map(u8::to_le_bytes), bytes);
    text(event.outcome.as_str(), bytes);
    option_text(event.refusal.as_deref(), bytes);
    option_text(event.would_refuse.as_deref(), bytes);
    bytes.extend((event.units.len() as u64).to_le_bytes());
    for (meter, units) in &event.units {
        text(meter.as_str(), bytes);
        bytes.extend(units.get().to_le_bytes());
    }
    bytes.push(u8::from(event.over));
    bytes.extend(event.response_time_us.to_le_bytes());
    option(event.first_byte_us.map(u64::to_le_bytes), bytes);
    bytes.extend(event.bytes_in.to_le_bytes());
    bytes.extend(event.bytes_out.to_le_bytes());
    text(&event.request_id, bytes);
    bytes.extend(event.replica.as_uuid().as_bytes());
    bytes.extend((event.tags.len() as u64).to_le_bytes());
    for (name, value) in &event.tags {
        text(name, bytes);
        text(value, bytes);
    }
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn option_text(value: Option<&str>, bytes: &mut Vec<u8>) {
    bytes.push(u8::from(value.is_some()));
    text(value.unwrap_or_default(), bytes);
}

fn option<const N: usize>(value: Option<[u8; N]>, bytes: &mut Vec<u8>) {
    bytes.push(u8::from(value.is_some()));
    bytes.extend(value.unwrap_or([0; N]));
}
