//! Writing a record.

use super::{CHARGE, Charge, Draft, FIXED, Flags, VERSION, code_of};
use crate::units::Units;

/// Room for usual records without an allocation.
const INLINE: usize = 320;

impl Draft<'_> {
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
