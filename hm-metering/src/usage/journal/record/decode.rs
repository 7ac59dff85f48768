//! Reading a record.

use smallvec::SmallVec;
use uuid::Uuid;

use super::{Flags, OUTCOMES, Record, VERSION};
use crate::id::{AccountId, EventId, KeyId, ReplicaId, UserId};
use crate::name::{MeterName, OperationName, PlanId};
use crate::period::Period;
use crate::quota::{FencingToken, QuotaKey, Settlement};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::Event;

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
