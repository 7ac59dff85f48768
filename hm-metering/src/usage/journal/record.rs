//! A finished request as bytes.
//!
//! First what all records have in common, as little-endian numbers of known length, then texts behind their length, then
//! tags, units and charges; flags say which of the optional fields are there. The first byte is the version of this layout. Journals outlive the program that wrote them, so a
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
/// How many bytes all records have in common, and how many a charge takes.
const FIXED: usize = 114;
const CHARGE: usize = 41;

/// Room for usual records without an allocation.
pub(crate) type Bytes = SmallVec<[u8; 512]>;

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
    pub(crate) endpoint: &'a str,
    pub(crate) method: &'a str,
    /// None where it is the event's own id.
    pub(crate) request_id: Option<&'a str>,
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

    /// The bytes. At most [`PAYLOAD_MAX`](super::PAYLOAD_MAX) of them as long as the texts keep to their bounds.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer(Bytes::new());
        out.bytes(&self.fixed());
        for text in [self.operation, self.endpoint, self.method, self.plan] {
            out.text(text);
        }
        let optional = [self.request_id, self.source, self.refusal, self.would_refuse];
        for text in optional.into_iter().flatten() {
            out.text(text);
        }
        for (name, value) in self.tags {
            out.text(name);
            out.text(value);
        }
        for (meter, units) in self.units {
            out.text(meter.as_str());
            out.bytes(&units.get().to_le_bytes());
        }
        for charge in self.charges {
            out.bytes(&charge.to_bytes());
        }
        out.0
    }

    /// What has the same length in every record.
    fn fixed(&self) -> [u8; FIXED] {
        let flags = Flags::USER.when(self.user.is_some())
            | Flags::KEY.when(self.key.is_some())
            | Flags::GRPC.when(self.grpc_status.is_some())
            | Flags::FIRST_BYTE.when(self.first_byte_us.is_some())
            | Flags::REQUEST_ID.when(self.request_id.is_some())
            | Flags::SOURCE.when(self.source.is_some())
            | Flags::REFUSAL.when(self.refusal.is_some())
            | Flags::WOULD_REFUSE.when(self.would_refuse.is_some())
            | Flags::OVER.when(self.over);
        let mut fixed = Fixed::default();
        fixed.put([VERSION, code_of(self.outcome)]);
        fixed.put(flags.0.to_le_bytes());
        fixed.put(self.status.to_le_bytes());
        fixed.put([self.grpc_status.unwrap_or_default()]);
        fixed.put([self.tags.len(), self.units.len(), self.charges.len()].map(short));
        fixed.put(self.at.as_micros().to_le_bytes());
        let uuids = [
            self.id.as_uuid(),
            self.account.as_uuid(),
            self.user.map_or(Uuid::nil(), |user| user.as_uuid()),
            self.key.map_or(Uuid::nil(), |key| key.as_uuid()),
        ];
        for uuid in uuids {
            fixed.put(*uuid.as_bytes());
        }
        let numbers = [
            self.response_time_us,
            self.first_byte_us.unwrap_or_default(),
            self.bytes_in,
            self.bytes_out,
        ];
        for number in numbers {
            fixed.put(number.to_le_bytes());
        }
        fixed.bytes
    }
}

impl Charge {
    fn to_bytes(self) -> [u8; CHARGE] {
        let mut fixed = Fixed::default();
        fixed.put([self.meter]);
        let numbers = [
            self.period.start.as_micros().cast_unsigned(),
            self.period.end.as_micros().cast_unsigned(),
            self.limit.map_or(u64::MAX, Units::get),
            self.lease.map_or(u64::MAX, |token| token.0),
            self.units.get(),
        ];
        for number in numbers {
            fixed.put(number.to_le_bytes());
        }
        fixed.bytes
    }
}

fn short(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Bytes of a known number, written one behind the other.
struct Fixed<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Fixed<N> {
    fn put<const M: usize>(&mut self, bytes: [u8; M]) {
        self.bytes[self.len..self.len + M].copy_from_slice(&bytes);
        self.len += M;
    }
}

struct Writer(Bytes);

impl Writer {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        self.bytes(&len.to_le_bytes());
        self.bytes(&text.as_bytes()[..usize::from(len)]);
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
    let (tags, meters, charges) = (from.byte()?, from.byte()?, from.byte()?);
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
        let meter = units.get(usize::from(from.byte()?))?.0.clone();
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
        Uuid::from_slice(self.take(16)?).ok()
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
