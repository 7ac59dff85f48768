//! Writing a record.

use super::{ACCOUNTS_ONLY, CHARGE, Charge, Draft, FIXED, Flags, OF_KEY, WITH_KEYS, code_of};
use crate::units::Units;

/// Room for usual records without an allocation.
const INLINE: usize = 320;

impl Draft<'_> {
    /// Calls `take` with the bytes. At most [`PAYLOAD_MAX`](super::PAYLOAD_MAX) of them as long as the texts keep to their
    /// bounds. Usual records need no allocation.
    #[inline]
    pub(crate) fn encode<T>(&self, take: impl FnOnce(&[u8]) -> T) -> T {
        let mut inline = [0; INLINE];
        let len = self.write(Writer::on(&mut inline));
        if let Some(bytes) = inline.get(..len) {
            return take(bytes);
        }
        let mut spilled = vec![0; len];
        self.write(Writer::on(&mut spilled));
        take(&spilled)
    }

    /// Answers how many bytes it takes. They are all there if that many have a place.
    #[inline]
    fn write(&self, mut out: Writer<'_>) -> usize {
        out.words(self.fixed());
        out.text(self.operation.as_bytes());
        out.text(self.endpoint);
        out.text(self.method.as_bytes());
        out.text(self.plan.as_bytes());
        out.optional(self.request_id);
        out.optional(self.source.map(str::as_bytes));
        out.optional(self.refusal.map(str::as_bytes));
        out.optional(self.would_refuse.map(str::as_bytes));
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
        out.len
    }

    fn version(&self) -> u8 {
        if self.charges.iter().any(|charge| charge.of_key) {
            WITH_KEYS
        } else {
            ACCOUNTS_ONLY
        }
    }

    /// What has the same length in every record.
    #[inline]
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
                self.version(),
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
            u64::from(self.meter) | if self.of_key { OF_KEY } else { 0 },
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

/// Writes as far as there is room, and counts on.
struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    const fn on(bytes: &'a mut [u8]) -> Self {
        Self { bytes, len: 0 }
    }

    fn words<const N: usize>(&mut self, words: [u64; N]) {
        let end = self.len + N * 8;
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            for (place, word) in place.as_chunks_mut().0.iter_mut().zip(words) {
                *place = word.to_le_bytes();
            }
        }
        self.len = end;
    }

    fn text(&mut self, text: &[u8]) {
        let end = self.len + 2 + text.len();
        if let Some(place) = self.bytes.get_mut(self.len..end)
            && let Some((len, place)) = place.split_first_chunk_mut()
        {
            // Texts are bounded far below what two bytes can count.
            *len = (text.len() as u16).to_le_bytes();
            place.copy_from_slice(text);
        }
        self.len = end;
    }

    fn optional(&mut self, text: Option<&[u8]>) {
        if let Some(text) = text {
            self.text(text);
        }
    }
}
