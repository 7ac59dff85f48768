//! One event as a CloudEvent.

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::id::{AccountId, EventId, KeyId, ReplicaId, UserId};
use crate::name::{MeterName, OperationName};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Event, Outcome};

/// An event in the JSON format of CloudEvents 1.0, ready to be sent.
///
/// ```json
/// {"specversion":"1.0","id":"0198…","source":"/facts","type":"hm-metering.request.v1","subject":"0198…",
///  "time":"2026-11-25T12:00:00Z","datacontenttype":"application/json",
///  "data":{"accountId":"0198…","userId":"0198…","keyId":"0198…","operation":"facts","endpoint":"/facts","method":"POST",
///          "source":null,"status":200,"grpcStatus":null,"outcome":"completed","refusal":null,"wouldRefuse":null,
///          "units":{"requests":1},"over":false,"responseTimeUs":1834,"firstByteUs":1702,"bytesIn":0,"bytesOut":512,
///          "requestId":"0198…","replicaId":"0198…","tags":{}}}
/// ```
///
/// `id` is the event's own id, so a receiver that has one twice can tell. `subject` is the account. There is no secret in it.
/// It is always far shorter than the 64 KiB that every intermediary has to forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    id: EventId,
    json: Bytes,
}

impl CloudEvent {
    /// The media type of one such event.
    pub const MEDIA_TYPE: &'static str = "application/cloudevents+json";
    /// The media type of [`CloudEvent::batch`].
    pub const BATCH_MEDIA_TYPE: &'static str = "application/cloudevents-batch+json";

    pub(super) fn new(event: &Event, source: &str, kind: &str) -> serde_json::Result<Self> {
        let envelope = Envelope {
            specversion: "1.0",
            id: event.id,
            source,
            kind,
            subject: event.account,
            time: event.at,
            datacontenttype: "application/json",
            data: Data::of(event),
        };
        Ok(Self {
            id: event.id,
            json: serde_json::to_vec(&envelope)?.into(),
        })
    }

    /// The event's id: the same whenever it is sent again, for brokers that drop what they have already.
    #[must_use]
    pub const fn id(&self) -> EventId {
        self.id
    }

    /// The event as JSON, in UTF-8.
    #[must_use]
    pub const fn json(&self) -> &Bytes {
        &self.json
    }

    /// Several events as one JSON array, the batch format.
    #[must_use]
    pub fn batch(events: &[Self]) -> Bytes {
        let length: usize = events.iter().map(|event| event.json.len() + 1).sum();
        let mut text = Vec::with_capacity(length + 2);
        text.push(b'[');
        for (number, event) in events.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&event.json);
        }
        text.push(b']');
        text.into()
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: EventId,
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    subject: AccountId,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    account_id: AccountId,
    user_id: Option<UserId>,
    key_id: Option<KeyId>,
    operation: &'a OperationName,
    endpoint: &'a str,
    method: &'a str,
    source: Option<&'a str>,
    status: u16,
    grpc_status: Option<u8>,
    outcome: Outcome,
    refusal: Option<&'a str>,
    would_refuse: Option<&'a str>,
    #[serde(serialize_with = "as_object")]
    units: &'a [(MeterName, Units)],
    over: bool,
    response_time_us: u64,
    first_byte_us: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    request_id: &'a str,
    replica_id: ReplicaId,
    #[serde(serialize_with = "as_object")]
    tags: &'a [(String, String)],
}

impl<'a> Data<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            account_id: event.account,
            user_id: event.user,
            key_id: event.key,
            operation: &event.operation,
            endpoint: &event.endpoint,
            method: &event.method,
            source: event.source.as_deref(),
            status: event.status,
            grpc_status: event.grpc_status,
            outcome: event.outcome,
            refusal: event.refusal.as_deref(),
            would_refuse: event.would_refuse.as_deref(),
            units: &event.units,
            over: event.over,
            response_time_us: event.response_time_us,
            first_byte_us: event.first_byte_us,
            bytes_in: event.bytes_in,
            bytes_out: event.bytes_out,
            request_id: &event.request_id,
            replica_id: event.replica,
            tags: &event.tags,
        }
    }
}

/// Writes pairs as an object: their names are sorted and none is there twice.
fn as_object<K: Serialize, V: Serialize, S: Serializer>(
    pairs: &[(K, V)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(pairs.len()))?;
    for (name, value) in pairs {
        object.serialize_entry(name, value)?;
    }
    object.end()
}
