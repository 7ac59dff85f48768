//! Reading a record.

use uuid::Uuid;

use super::memo::{Memo, Shared};
use super::{ACCOUNTS_ONLY, Charge, Charges, Flags, OF_KEY, OUTCOMES, Record, WITH_KEYS};
use crate::id::{AccountId, EventId, KeyId, ReplicaId, UserId};
use crate::name::{MeterName, OperationName, PlanId};
use crate::period::Period;
use crate::quota::FencingToken;
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Event, Text};

/// Reads records, and remembers the texts that they have in common.
#[derive(Debug)]
pub(crate) struct Decoder {
    replica: ReplicaId,
    operations: Memo<OperationName>,
    meters: Memo<MeterName>,
    plans: Memo<PlanId>,
    texts: Memo<Text>,
}

impl Decoder {
    /// For records of that installation.
    pub(crate) fn new(replica: ReplicaId) -> Self {
        Self {
            replica,
            operations: Memo::default(),
            meters: Memo::default(),
            plans: Memo::default(),
            texts: Memo::default(),
        }
    }

    /// Reads what [`Draft::encode`](super::Draft::encode) wrote. None for anything else.
    pub(crate) fn decode(&mut self, payload: &[u8]) -> Option<Record> {
        let mut from = Source(payload);
        let has_keys = match from.byte()? {
            ACCOUNTS_ONLY => false,
            WITH_KEYS => true,
            _ => return None,
        };
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
        let operation = self.operations.get(from.bytes()?)?;
        let endpoint = self.texts.get(from.bytes()?)?;
        let method = self.texts.get(from.bytes()?)?;
        let plan = from.bytes()?;
        let plan = match charges {
            0 => std::str::from_utf8(plan).map(|_| None).ok()?,
            _ => Some(self.plans.get(plan)?),
        };
        let request_id = from.when(flags.has(Flags::REQUEST_ID), Source::text)?;
        let mut shared = |flag| from.when(flags.has(flag), |from| self.texts.get(from.bytes()?));
        let source = shared(Flags::SOURCE)?;
        let refusal = shared(Flags::REFUSAL)?;
        let would_refuse = shared(Flags::WOULD_REFUSE)?;
        let tags = from.list(tags, |from| {
            Some((from.text()?.to_owned(), from.text()?.to_owned()))
        })?;
        let units = from.list(meters, |from| {
            Some((self.meters.get(from.bytes()?)?, from.units()?))
        })?;
        let mut charged = Charges::new();
        for _ in 0..charges {
            charged.push(from.charge(units.len(), has_keys && key.is_some())?);
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
            replica: self.replica,
            over: flags.has(Flags::OVER),
            would_refuse,
            grpc_status,
            tags,
        };
        from.0.is_empty().then_some(Record {
            event,
            plan,
            charges: charged,
        })
    }
}

macro_rules! shared {
    ($($name:ident),*) => {$(
        impl Shared for $name {
            fn make(text: &str) -> Option<Self> {
                Self::parse(text).ok()
            }

            fn text(&self) -> &str {
                self.as_str()
            }
        }
    )*};
}

shared!(OperationName, MeterName, PlanId);

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

    /// The bytes of a text.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.short()?);
        self.take(len)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A charge on one of so many meters, which may be on the counter of a key.
    fn charge(&mut self, meters: usize, may_be_of_key: bool) -> Option<Charge> {
        let place = self.long()?;
        let of_key = may_be_of_key && place & OF_KEY != 0;
        let meter = u8::try_from(if of_key { place ^ OF_KEY } else { place }).ok()?;
        let period = Period {
            start: self.time()?,
            end: self.time()?,
        };
        let (limit, lease) = (self.long()?, self.long()?);
        let charge = Charge {
            meter,
            of_key,
            period,
            limit: (limit != u64::MAX).then(|| Units::new(limit)),
            lease: (lease != u64::MAX).then_some(FencingToken(lease)),
            units: self.units()?,
        };
        (usize::from(meter) < meters).then_some(charge)
    }

    /// Reads a field that may not be there. None when it should be there and is not.
    fn when<T>(&mut self, is_there: bool, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if is_there {
            read(self).map(Some)
        } else {
            Some(None)
        }
    }

    fn list<T>(&mut self, len: u8, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::with_capacity(usize::from(len));
        for _ in 0..len {
            list.push(read(self)?);
        }
        Some(list)
    }
}
