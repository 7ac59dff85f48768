//! What a batch's events say, in 32 bytes: tells a repeated batch from another one under the same id.

use sha2::{Digest, Sha256};

use crate::usage::Event;

/// The digest of `events`. It depends on every field and on nothing else; the events' order does not matter.
pub(super) fn of_events(events: &[Event]) -> [u8; 32] {
    let mut sorted: Vec<&Event> = events.iter().collect();
    sorted.sort_by_key(|event| event.id);
    let mut digest = Sha256::new();
    for event in sorted {
        feed(&mut digest, event);
    }
    digest.finalize().into()
}

fn feed(digest: &mut Sha256, event: &Event) {
    digest.update(event.id.as_uuid());
    digest.update(event.at.as_micros().to_be_bytes());
    digest.update(event.account.as_uuid());
    optional(digest, event.user.map(|user| *user.as_uuid().as_bytes()));
    optional(digest, event.key.map(|key| *key.as_uuid().as_bytes()));
    text(digest, event.operation.as_str().as_bytes());
    text(digest, event.endpoint.as_bytes());
    text(digest, event.method.as_bytes());
    optional(digest, event.source.as_deref());
    digest.update(event.status.to_be_bytes());
    optional(digest, event.grpc_status.map(u8::to_be_bytes));
    text(digest, event.outcome.as_str().as_bytes());
    optional(digest, event.refusal.as_deref());
    optional(digest, event.would_refuse.as_deref());
    digest.update((event.units.len() as u64).to_be_bytes());
    for (meter, units) in &event.units {
        text(digest, meter.as_str().as_bytes());
        digest.update(units.get().to_be_bytes());
    }
    digest.update([u8::from(event.over)]);
    digest.update(event.response_time_us.to_be_bytes());
    optional(digest, event.first_byte_us.map(u64::to_be_bytes));
    digest.update(event.bytes_in.to_be_bytes());
    digest.update(event.bytes_out.to_be_bytes());
    text(digest, event.request_id.as_bytes());
    digest.update(event.replica.as_uuid());
    digest.update((event.tags.len() as u64).to_be_bytes());
    for (name, value) in &event.tags {
        text(digest, name.as_bytes());
        text(digest, value.as_bytes());
    }
}

fn optional(digest: &mut Sha256, value: Option<impl AsRef<[u8]>>) {
    digest.update([u8::from(value.is_some())]);
    if let Some(value) = value {
        text(digest, value.as_ref());
    }
}

/// The length goes first, so that two neighbouring texts can't be cut at another place.
fn text(digest: &mut Sha256, value: &[u8]) {
    digest.update((value.len() as u64).to_be_bytes());
    digest.update(value);
}
