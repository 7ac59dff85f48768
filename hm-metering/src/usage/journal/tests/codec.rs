//! Events as bytes and back.

use proptest::prelude::*;
use uuid::Uuid;

use super::super::record::{Charge, Decoder, Draft, Record};
use super::super::segment::PAYLOAD_MAX;
use crate::id::{AccountId, EventId, KeyId, ReplicaId, UserId};
use crate::keys::KeyQuotas;
use crate::meter::bounds;
use crate::name::{MeterName, OperationName, PlanId};
use crate::operation::Operation;
use crate::period::Period;
use crate::quota::FencingToken;
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Event, Outcome};

const OUTCOMES: [Outcome; 9] = [
    Outcome::Completed,
    Outcome::Refused,
    Outcome::ClientGone,
    Outcome::BodyError,
    Outcome::ServiceError,
    Outcome::Panicked,
    Outcome::NotReached,
    Outcome::TimedOut,
    Outcome::Stopped,
];
/// An operation's meters, and those that a handler names besides.
const METERS_MAX: usize = Operation::METERS_MAX + bounds::METERS_MAX;
/// Each meter of an operation may be charged out of a lease and beyond it, and again so where the key has a quota of its own; the
/// others are charged once.
const CHARGES_MAX: usize = 2 * Operation::METERS_MAX + bounds::METERS_MAX + 2 * KeyQuotas::MAX;
const NAME_MAX: usize = 64;
const SOURCE_MAX: usize = 64;

/// What a draft is borrowed from.
#[derive(Clone, Debug)]
struct Sample {
    event: Event,
    has_request_id: bool,
    plan: String,
    charges: Vec<Charge>,
}

impl Sample {
    fn draft(&self) -> Draft<'_> {
        let event = &self.event;
        Draft {
            id: event.id,
            at: event.at,
            account: event.account,
            user: event.user,
            key: event.key,
            status: event.status,
            outcome: event.outcome,
            grpc_status: event.grpc_status,
            over: event.over,
            response_time_us: event.response_time_us,
            first_byte_us: event.first_byte_us,
            bytes_in: event.bytes_in,
            bytes_out: event.bytes_out,
            operation: event.operation.as_str(),
            endpoint: event.endpoint.as_bytes(),
            method: &event.method,
            request_id: self.has_request_id.then_some(event.request_id.as_bytes()),
            source: event.source.as_deref(),
            refusal: event.refusal.as_deref(),
            would_refuse: event.would_refuse.as_deref(),
            tags: &event.tags,
            units: &event.units,
            plan: &self.plan,
            charges: &self.charges,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.draft().encode(<[u8]>::to_vec)
    }

    /// What the bytes must give again.
    fn record(&self) -> Record {
        Record {
            event: self.event.clone(),
            plan: (!self.charges.is_empty()).then(|| PlanId::parse(&self.plan).unwrap()),
            charges: self.charges.as_slice().into(),
        }
    }
}

/// By one that has read nothing before.
fn decode(bytes: &[u8], replica: ReplicaId) -> Option<Record> {
    Decoder::new(replica).decode(bytes)
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

/// A text of at most `most` bytes.
fn text(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..most).prop_map(move |chars| {
        let text: String = chars.into_iter().collect();
        text[..text.floor_char_boundary(most)].to_owned()
    })
}

fn maybe_text(most: usize) -> impl Strategy<Value = Option<String>> {
    prop::option::of(text(most))
}

fn name() -> impl Strategy<Value = String> {
    const LETTERS: &[char] = &['a', 'k', 'z', '0', '9'];
    const OTHERS: &[char] = &['a', 'm', '7', '.', '_', '-'];
    let rest = prop::collection::vec(prop::sample::select(OTHERS), 0..NAME_MAX);
    (prop::sample::select(LETTERS), rest)
        .prop_map(|(first, rest)| std::iter::once(first).chain(rest).collect())
}

fn units() -> impl Strategy<Value = Vec<(MeterName, Units)>> {
    let meters = prop::collection::btree_map(name(), any::<u64>(), 0..METERS_MAX);
    meters.prop_map(|meters| {
        let meter = |(name, units): (String, u64)| (MeterName::parse(&name).unwrap(), Units::new(units));
        meters.into_iter().map(meter).collect()
    })
}

/// Charges on any of so many meters.
fn charges(meters: usize) -> impl Strategy<Value = Vec<Charge>> {
    // The greatest number stands for "none".
    let number = || prop::option::of(0..u64::MAX);
    let meter = (0..meters.max(1), any::<bool>());
    let charge = (meter, time(), time(), number(), number(), any::<u64>());
    let charge = charge.prop_map(|((meter, of_key), start, end, limit, lease, units)| Charge {
        meter: u8::try_from(meter).unwrap(),
        of_key,
        period: Period { start, end },
        limit: limit.map(Units::new),
        lease: lease.map(FencingToken),
        units: Units::new(units),
    });
    prop::collection::vec(charge, 0..if meters == 0 { 1 } else { CHARGES_MAX })
}

fn sample() -> impl Strategy<Value = Sample> {
    let ids = (
        uuid(),
        uuid(),
        prop::option::of(uuid()),
        prop::option::of(uuid()),
        uuid(),
    );
    let names = (name(), name(), text(256), text(32));
    let texts = (
        maybe_text(128),
        maybe_text(SOURCE_MAX),
        maybe_text(32),
        maybe_text(32),
    );
    let numbers = (
        time(),
        any::<u16>(),
        prop::sample::select(&OUTCOMES),
        prop::option::of(any::<u8>()),
        any::<bool>(),
    );
    let sizes = (
        any::<u64>(),
        prop::option::of(any::<u64>()),
        any::<u64>(),
        any::<u64>(),
    );
    let tags = prop::collection::vec(
        (text(Event::TAG_NAME_MAX), text(Event::TAG_VALUE_MAX)),
        0..=Event::TAGS_MAX,
    );
    let counted = units().prop_flat_map(|units| {
        let charges = charges(units.len());
        (Just(units), charges)
    });
    (ids, names, texts, numbers, sizes, tags, counted).prop_map(
        |(ids, names, texts, numbers, sizes, tags, (units, charges))| {
            let id = EventId::from_uuid(ids.0);
            let event = Event {
                id,
                at: numbers.0,
                account: AccountId::from_uuid(ids.1),
                user: ids.2.map(UserId::from_uuid),
                key: ids.3.map(KeyId::from_uuid),
                operation: OperationName::parse(&names.0).unwrap(),
                endpoint: names.2.into(),
                method: names.3.into(),
                source: texts.1.map(Into::into),
                status: numbers.1,
                grpc_status: numbers.3,
                outcome: numbers.2,
                refusal: texts.2.map(Into::into),
                would_refuse: texts.3.map(Into::into),
                units,
                response_time_us: sizes.0,
                first_byte_us: sizes.1,
                bytes_in: sizes.2,
                bytes_out: sizes.3,
                request_id: texts.0.clone().unwrap_or_else(|| id.to_string()),
                replica: ReplicaId::from_uuid(ids.4),
                over: numbers.4,
                tags,
            };
            // Only what a key was charged can be on its counter.
            let of_event = |charge: Charge| Charge {
                of_key: charge.of_key && event.key.is_some(),
                ..charge
            };
            Sample {
                has_request_id: texts.0.is_some(),
                plan: names.1,
                charges: charges.into_iter().map(of_event).collect(),
                event,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read_again(sample in sample()) {
        let bytes = sample.bytes();
        prop_assert!(bytes.len() <= PAYLOAD_MAX);
        let record = decode(&bytes, sample.event.replica);
        prop_assert_eq!(record, Some(sample.record()));
        prop_assert_eq!(sample.draft().settlements().len(), sample.charges.len());
    }

    #[test]
    fn only_what_is_charged_on_a_keys_counter_needs_the_second_layout(sample in sample()) {
        let mut bytes = sample.bytes();
        let has_keys = sample.charges.iter().any(|charge| charge.of_key);
        prop_assert_eq!(bytes[0], if has_keys { 2 } else { 1 });
        let of_key = |charge: &&Charge| charge.of_key;
        let settled = sample.draft().settlements();
        let of_keys = settled.iter().filter(|settlement| settlement.key.key.is_some());
        prop_assert_eq!(of_keys.count(), sample.charges.iter().filter(of_key).count());
        // Under the other number, it is what it was or nothing: charges never change their counter.
        bytes[0] ^= 3;
        let read = decode(&bytes, sample.event.replica);
        prop_assert_eq!(read, (!has_keys).then(|| sample.record()));
    }

    #[test]
    fn what_was_read_before_changes_nothing(samples in prop::collection::vec(sample(), 1..6)) {
        let replica = ReplicaId::from_uuid(Uuid::nil());
        let mut decoder = Decoder::new(replica);
        for sample in samples.iter().chain(&samples) {
            let read = decoder.decode(&sample.bytes());
            prop_assert_eq!(&read, &decode(&sample.bytes(), replica));
            prop_assert!(read.is_some());
        }
    }

    #[test]
    fn a_record_cut_short_or_with_more_behind_is_none(sample in sample(), more in any::<u8>()) {
        let bytes = sample.bytes();
        for length in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..length], sample.event.replica), None);
        }
        let longer: Vec<u8> = bytes.iter().copied().chain([more]).collect();
        prop_assert_eq!(decode(&longer, sample.event.replica), None);
    }

    #[test]
    fn any_bytes_can_be_read(
        bytes in prop::collection::vec(any::<u8>(), 0..PAYLOAD_MAX),
        // Most of what begins otherwise is given up at once.
        outcome in 0_u8..9,
    ) {
        let replica = ReplicaId::from_uuid(Uuid::nil());
        let _ = decode(&bytes, replica);
        for layout in [1, 2] {
            let begun: Vec<u8> = [layout, outcome].into_iter().chain(bytes.iter().copied()).collect();
            let _ = decode(&begun, replica);
        }
    }

    #[test]
    fn changed_bytes_can_be_read(sample in sample(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = sample.bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = decode(&bytes, sample.event.replica);
    }
}

#[test]
fn the_largest_record_fits() {
    let longest = "n".repeat(NAME_MAX);
    let meter = |number: usize| MeterName::parse(&format!("{number:064}")).unwrap();
    let id = EventId::from_uuid(Uuid::max());
    let charge = |meter: usize| Charge {
        meter: u8::try_from(meter).unwrap(),
        of_key: true,
        period: Period {
            start: Timestamp::MIN,
            end: Timestamp::MAX,
        },
        limit: Some(Units::new(7)),
        lease: Some(FencingToken(7)),
        units: Units::new(u64::MAX),
    };
    let sample = Sample {
        event: Event {
            id,
            at: Timestamp::MAX,
            account: AccountId::from_uuid(Uuid::max()),
            user: Some(UserId::from_uuid(Uuid::max())),
            key: Some(KeyId::from_uuid(Uuid::max())),
            operation: OperationName::parse(&longest).unwrap(),
            endpoint: "e".repeat(bounds::ENDPOINT_MAX).into(),
            method: "m".repeat(bounds::METHOD_MAX).into(),
            source: Some("s".repeat(SOURCE_MAX).into()),
            status: u16::MAX,
            grpc_status: Some(u8::MAX),
            outcome: Outcome::Completed,
            refusal: Some("temporarily_unavailable".into()),
            would_refuse: Some("temporarily_unavailable".into()),
            units: (0..METERS_MAX)
                .map(|at| (meter(at), Units::new(u64::MAX)))
                .collect(),
            response_time_us: u64::MAX,
            first_byte_us: Some(u64::MAX),
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            request_id: "r".repeat(bounds::REQUEST_ID_MAX),
            replica: ReplicaId::from_uuid(Uuid::max()),
            over: true,
            tags: vec![("t".repeat(Event::TAG_NAME_MAX), "v".repeat(Event::TAG_VALUE_MAX)); Event::TAGS_MAX],
        },
        has_request_id: true,
        plan: longest,
        charges: (0..CHARGES_MAX).map(|at| charge(at % METERS_MAX)).collect(),
    };
    let bytes = sample.bytes();
    assert!(bytes.len() <= PAYLOAD_MAX, "{} bytes", bytes.len());
    assert_eq!(decode(&bytes, sample.event.replica), Some(sample.record()));
}
