//! A finished request as bytes.
//!
//! First what all records have in common, as little-endian words, then texts behind their length, then tags, units and
//! charges; flags say which of the optional fields are there. The first byte is the version of this layout. Journals outlive the program that wrote them, so a
//! layout never changes its meaning: another one gets another number.

use std::ops::BitOr;

use smallvec::SmallVec;
use uuid::Uuid;

use crate::id::{AccountId, EventId, KeyId, ReplicaId, UserId};
use crate::name::{MeterName, OperationName, PlanId};
use crate::period::Period;
use crate::quota::{FencingToken, QuotaKey, Settlement};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Event, Outcome};

const VERSION: u8 = 1;
/// How many words all records have in common, and how many a charge takes.
const FIXED: usize = 15;
const CHARGE: usize = 6;
/// Room for usual records without an allocation.
const INLINE: usize = 320;

/// A finished request as it is written down: what its [`Event`] will be, without the texts of its own.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) id: EventId,
    pub(crate) at: Timestamp,
    pub(crate) account: AccountId,
    pub(crate) user: Option<UserId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) grpc_status: Option<u8>,
    pub(crate) over: bool,
    pub(crate) response_time_us: u64,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) operation: &'a str,
    /// The bytes of a text.
    pub(crate) endpoint: &'a [u8],
    pub(crate) method: &'a str,
    /// The bytes of a text; none where it is the event's own id.
    pub(crate) request_id: Option<&'a [u8]>,
    pub(crate) source: Option<&'a str>,
    pub(crate) refusal: Option<&'a str>,
    pub(crate) would_refuse: Option<&'a str>,
    pub(crate) tags: &'a [(String, String)],
    /// By meter, sorted, none twice.
    pub(crate) units: &'a [(MeterName, Units)],
    /// The plan that held; matters where something was charged.
    pub(crate) plan: &'a str,
    pub(crate) charges: &'a [Charge],
}

/// Units charged on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The meter's place among the event's units.
    pub(crate) meter: u8,
    pub(crate) period: Period,
    pub(crate) limit: Option<Units>,
    /// The lease they came out of.
    pub(crate) lease: Option<FencingToken>,
    pub(crate) units: Units,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) event: Event,
    pub(crate) settlements: SmallVec<[Settlement; 1]>,
}

/// Which of the optional fields are there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags(u16);

impl Flags {
    const USER: Self = Self(1);
    const KEY: Self = Self(1 << 1);
    const GRPC: Self = Self(1 << 2);
    const FIRST_BYTE: Self = Self(1 << 3);
    const REQUEST_ID: Self = Self(1 << 4);
    const SOURCE: Self = Self(1 << 5);
    const REFUSAL: Self = Self(1 << 6);
    const WOULD_REFUSE: Self = Self(1 << 7);
    const OVER: Self = Self(1 << 8);

    const fn when(self, is_there: bool) -> Self {
        if is_there { self } else { Self(0) }
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

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

const fn code_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 0,
        Outcome::Refused => 1,
        Outcome::ClientGone => 2,
        Outcome::BodyError => 3,
        Outcome::ServiceError => 4,
        Outcome::Panicked => 5,
        Outcome::NotReached => 6,
        Outcome::TimedOut => 7,
        Outcome::Stopped => 8,
    }
}

impl Draft<'_> {
    /// What it charges.
    pub(crate) fn settlements(&self) -> SmallVec<[Settlement; 1]> {
        let settlement = |charge: &Charge| {
            Some(Settlement {
                key: QuotaKey {
                    account: self.account,
                    meter: self.units.get(usize::from(charge.meter))?.0.clone(),
                    period: charge.period,
                },
                plan: PlanId::parse(self.plan).ok()?,
                limit: charge.limit,
                lease: charge.lease,
                units: charge.units,
            })
        };
        self.charges.iter().filter_map(settlement).collect()
    }

    /// Calls `take` with the bytes. At most [`PAYLOAD_MAX`](super::PAYLOAD_MAX) of them as long as the texts keep to their
    /// bounds. Usual records need no allocation.
    pub(crate) fn encode<T>(&self, take: impl FnOnce(&[u8]) -> T) -> T {
        let mut inline = [0; INLINE];
        let mut spilled = Vec::new();
        let len = self.len();
        let bytes = match inline.get_mut(..len) {
            Some(bytes) => bytes,
            None => {
                spilled.resize(len, 0);
                &mut spilled[..]
            }
        };
        self.write(Writer(&mut *bytes));
        take(bytes)
    }

    fn len(&self) -> usize {
        let always: usize = self.texts().iter().map(|text| 2 + text.len()).sum();
        let optional: usize = self
            .optional_texts()
            .iter()
            .flatten()
            .map(|text| 2 + text.len())
            .sum();
        let tags = self.tags.iter();
        let tags: usize = tags.map(|(name, value)| 4 + name.len() + value.len()).sum();
        let units: usize = self
            .units
            .iter()
            .map(|(meter, _)| 10 + meter.as_str().len())
            .sum();
        (FIXED + CHARGE * self.charges.len()) * 8 + always + optional + tags + units
    }

    fn write(&self, mut out: Writer<'_>) {
        out.words(self.fixed());
        for text in self.texts() {
            out.text(text);
        }
        for text in self.optional_texts().into_iter().flatten() {
            out.text(text);
        }
        for (name, value) in self.tags {
            out.text(name.as_bytes());
            out.text(value.as_bytes());
        }
        for (meter, units) in self.units {
            out.text(meter.as_str().as_bytes());
            out.words([units.get()]);
        }
        for charge in self.charges {
            out.words(charge.to_words());
        }
    }

    const fn texts(&self) -> [&[u8]; 4] {
        [
            self.operation.as_bytes(),
            self.endpoint,
            self.method.as_bytes(),
            self.plan.as_bytes(),
        ]
    }

    fn optional_texts(&self) -> [Option<&[u8]>; 4] {
        [
            self.request_id,
            self.source.map(str::as_bytes),
            self.refusal.map(str::as_bytes),
            self.would_refuse.map(str::as_bytes),
        ]
    }

    /// What has the same length in every record.
    fn fixed(&self) -> [u64; FIXED] {
        let flags = Flags::USER.when(self.user.is_some())
            | Flags::KEY.when(self.key.is_some())
            | Flags::GRPC.when(self.grpc_status.is_some())
            | Flags::FIRST_BYTE.when(self.first_byte_us.is_some())
            | Flags::REQUEST_ID.when(self.request_id.is_some())
            | Flags::SOURCE.when(self.source.is_some())
            | Flags::REFUSAL.when(self.refusal.is_some())
            | Flags::WOULD_REFUSE.when(self.would_refuse.is_some())
            | Flags::OVER.when(self.over);
        let [flags_low, flags_high] = flags.0.to_le_bytes();
        let [status_low, status_high] = self.status.to_le_bytes();
        let (id, account) = (
            self.id.as_uuid().as_u64_pair(),
            self.account.as_uuid().as_u64_pair(),
        );
        let user = self.user.map_or((0, 0), |user| user.as_uuid().as_u64_pair());
        let key = self.key.map_or((0, 0), |key| key.as_uuid().as_u64_pair());
        [
            u64::from_le_bytes([
                VERSION,
                code_of(self.outcome),
                flags_low,
                flags_high,
                status_low,
                status_high,
                self.grpc_status.unwrap_or_default(),
                short(self.tags.len()),
            ]),
            u64::from_le_bytes([
                short(self.units.len()),
                short(self.charges.len()),
                0,
                0,
                0,
                0,
                0,
                0,
            ]),
            self.at.as_micros().cast_unsigned(),
            id.0,
            id.1,
            account.0,
            account.1,
            user.0,
            user.1,
            key.0,
            key.1,
            self.response_time_us,
            self.first_byte_us.unwrap_or_default(),
            self.bytes_in,
            self.bytes_out,
        ]
    }
}

impl Charge {
    fn to_words(self) -> [u64; CHARGE] {
        [
            u64::from(self.meter),
            self.period.start.as_micros().cast_unsigned(),
            self.period.end.as_micros().cast_unsigned(),
            self.limit.map_or(u64::MAX, Units::get),
            self.lease.map_or(u64::MAX, |token| token.0),
            self.units.get(),
        ]
    }
}

fn short(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// The place that is left.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    fn words<const N: usize>(&mut self, words: [u64; N]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(N * 8);
        for (place, word) in place.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.0 = rest;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (place, rest) = std::mem::take(&mut self.0).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        self.0 = rest;
    }

    fn text(&mut self, text: &[u8]) {
        // Texts are bounded far below what two bytes can count.
        self.bytes(&(text.len() as u16).to_le_bytes());
        self.bytes(text);
    }
}

/// Reads what [`Draft::encode`] wrote. None for anything else.
pub(crate) fn decode(payload: &[u8], replica: ReplicaId) -> Option<Record> {
    let mut from = Source(payload);
    if from.byte()? != VERSION {
        return None;
    }
    let outcome = *OUTCOMES.get(usize::from(from.byte()?))?;
    let flags = Flags(from.short()?);
    let status = from.short()?;
    let grpc_status = Some(from.byte()?).filter(|_| flags.has(Flags::GRPC));
    let tags = from.byte()?;
    let (meters, charges) = (from.byte()?, from.byte()?);
    from.take(6)?;
    let at = from.time()?;
    let id = EventId::from_uuid(from.uuid()?);
    let account = AccountId::from_uuid(from.uuid()?);
    let user = Some(from.uuid()?)
        .filter(|_| flags.has(Flags::USER))
        .map(UserId::from_uuid);
    let key = Some(from.uuid()?)
        .filter(|_| flags.has(Flags::KEY))
        .map(KeyId::from_uuid);
    let response_time_us = from.long()?;
    let first_byte_us = Some(from.long()?).filter(|_| flags.has(Flags::FIRST_BYTE));
    let bytes_in = from.long()?;
    let bytes_out = from.long()?;
    let operation = OperationName::parse(from.text()?).ok()?;
    let endpoint = from.text()?.to_owned();
    let method = from.text()?.to_owned();
    let plan = from.text()?;
    let request_id = from.when(flags.has(Flags::REQUEST_ID), Source::text)?;
    let source = from
        .when(flags.has(Flags::SOURCE), Source::text)?
        .map(str::to_owned);
    let refusal = from
        .when(flags.has(Flags::REFUSAL), Source::text)?
        .map(str::to_owned);
    let would_refuse = from
        .when(flags.has(Flags::WOULD_REFUSE), Source::text)?
        .map(str::to_owned);
    let tags = from.list(tags, |from| {
        Some((from.text()?.to_owned(), from.text()?.to_owned()))
    })?;
    let units = from.list(meters, |from| {
        let meter = MeterName::parse(from.text()?).ok()?;
        Some((meter, from.units()?))
    })?;
    let plan = if charges == 0 {
        None
    } else {
        Some(PlanId::parse(plan).ok()?)
    };
    let mut settlements = SmallVec::new();
    for _ in 0..charges {
        let meter = units.get(usize::try_from(from.long()?).ok()?)?.0.clone();
        let period = Period {
            start: from.time()?,
            end: from.time()?,
        };
        let limit = from.long()?;
        let lease = from.long()?;
        settlements.push(Settlement {
            key: QuotaKey {
                account,
                meter,
                period,
            },
            plan: plan.clone()?,
            limit: (limit != u64::MAX).then(|| Units::new(limit)),
            lease: (lease != u64::MAX).then_some(FencingToken(lease)),
            units: from.units()?,
        });
    }
    let event = Event {
        id,
        at,
        account,
        user,
        key,
        operation,
        endpoint,
        method,
        source,
        status,
        outcome,
        refusal,
        units,
        response_time_us,
        first_byte_us,
        bytes_in,
        bytes_out,
        request_id: request_id.map_or_else(|| id.to_string(), str::to_owned),
        replica,
        over: flags.has(Flags::OVER),
        would_refuse,
        grpc_status,
        tags,
    };
    from.0.is_empty().then_some(Record { event, settlements })
}

/// What is left to be read.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn units(&mut self) -> Option<Units> {
        self.long().map(Units::new)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp::from_micros(self.long()?.cast_signed()))
    }

    fn uuid(&mut self) -> Option<Uuid> {
        Some(Uuid::from_u64_pair(self.long()?, self.long()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(self.short()?);
        std::str::from_utf8(self.take(len)?).ok()
    }

    /// Reads a field that may not be there. None when it should be there and is not.
    fn when<T>(&mut self, is_there: bool, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if is_there {
            read(self).map(Some)
        } else {
            Some(None)
        }
    }

    fn list<T>(&mut self, len: u8, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..len).map(|_| read(self)).collect()
    }
}
