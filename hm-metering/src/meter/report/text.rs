//! Pieces of header values: names, integers, structured strings (RFC 9651).

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use crate::units::Units;

/// Longer names are cut.
const NAME_MAX: usize = 80;

/// A limit's name as it can stand in a structured string, which has printable ASCII only. What can't is written `_`.
pub(super) fn plain_name(name: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') { c } else { '_' };
    name.chars().take(NAME_MAX).map(plain).collect()
}

/// A structured string (RFC 9651 section 4.1.6), of a text that [`plain_name`] made.
pub(super) fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for c in name.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// Whole seconds, rounded up: an earlier retry would be refused again. At most what a structured integer holds.
pub(crate) fn seconds_up(wait: Duration) -> u64 {
    let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    seconds.min(Units::MAX.get())
}

/// Whole milliseconds, rounded up.
pub(crate) fn millis_up(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// What `Retry-After` says (RFC 9110 section 10.2.3): seconds, at least one, since zero invites a retry at once.
pub(crate) fn retry_seconds(wait: Duration) -> u64 {
    seconds_up(wait).max(1)
}

/// Writes `Retry-After`.
pub(crate) fn write_retry_after(wait: Duration, headers: &mut HeaderMap) {
    headers.insert(RETRY_AFTER, HeaderValue::from(retry_seconds(wait)));
}

/// Enough for usual values.
const INLINE: usize = 128;

/// What differs from answer to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What was used of the quota.
    Used,
    /// What is left of it.
    Remaining,
    /// When it comes back, where that is told in seconds from now.
    Reset,
    /// What the limit that the draft's headers tell of allows, where that is a header of its own.
    StateLimit,
    /// What is left of it.
    State,
    /// When there is more of it, where that is a header of its own.
    StateReset,
    /// The request's id.
    Id,
}

const PARTS: usize = 7;

/// Those parts, one after the other in one buffer, so that they take one allocation together.
pub(super) struct Moving {
    inline: [u8; INLINE],
    len: usize,
    /// Where each begins and ends. An empty one was not said.
    places: [(u32, u32); PARTS],
    /// Everything, once it is longer than the place.
    spilled: Vec<u8>,
}

impl Default for Moving {
    fn default() -> Self {
        Self {
            inline: [0; INLINE],
            len: 0,
            places: [(0, 0); PARTS],
            spilled: Vec::new(),
        }
    }
}

impl Moving {
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        self.text(itoa::Buffer::new().format(number));
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        // Once it is longer than that it stays so.
        match self.inline.get_mut(self.len..end) {
            Some(place) => place.copy_from_slice(bytes),
            None => self.spill(bytes),
        }
        self.len = end;
    }

    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        if self.spilled.is_empty() {
            self.spilled.extend_from_slice(&self.inline[..self.len]);
        }
        self.spilled.extend_from_slice(bytes);
    }

    /// Whether this part was said.
    pub(super) const fn has(&self, part: Part) -> bool {
        let (start, end) = self.places[part as usize];
        start != end
    }

    /// What `write` writes is this part. Others may stand in it.
    #[inline]
    pub(super) fn say(&mut self, part: Part, write: impl FnOnce(&mut Self)) {
        let start = self.len;
        write(self);
        self.places[part as usize] = (start as u32, self.len as u32);
    }

    pub(super) fn values(self) -> Values {
        let places = self.places;
        let bytes = if self.spilled.is_empty() {
            Bytes::from_owner(Inline {
                bytes: self.inline,
                len: self.len,
            })
        } else {
            self.spilled.into()
        };
        Values { bytes, places }
    }
}

/// Bytes with room behind them.
struct Inline {
    bytes: [u8; INLINE],
    len: usize,
}

impl AsRef<[u8]> for Inline {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The values of a [`Moving`].
pub(super) struct Values {
    bytes: Bytes,
    places: [(u32, u32); PARTS],
}

impl Values {
    /// What was said of a part; none if nothing was, or nothing that can stand in a header.
    pub(super) fn of(&self, part: Part) -> Option<HeaderValue> {
        let (start, end) = self.places[part as usize];
        if start == end {
            return None;
        }
        HeaderValue::from_maybe_shared(self.bytes.slice(start as usize..end as usize)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_always_stand_in_a_header() {
        assert_eq!(plain_name("per second"), "per second");
        assert_eq!(plain_name("mö\nnat"), "m__nat");
        assert_eq!(plain_name(&"x".repeat(1_000)).len(), NAME_MAX);
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    #[test]
    fn waits_are_rounded_up_and_never_say_now() {
        let mut headers = HeaderMap::new();
        for seconds in 0..100_u64 {
            for (nanos, expected) in [
                (0, seconds),
                (1, seconds + 1),
                (500_000_000, seconds + 1),
                (999_999_999, seconds + 1),
            ] {
                let wait = Duration::new(seconds, nanos);
                write_retry_after(wait, &mut headers);
                assert_eq!(headers[RETRY_AFTER], expected.max(1).to_string(), "{wait:?}");
                let retry = Duration::from_secs(retry_seconds(wait));
                assert!(
                    retry >= wait && retry <= wait + Duration::from_secs(1),
                    "{wait:?}"
                );
            }
        }
        assert_eq!(retry_seconds(Duration::MAX), Units::MAX.get());
    }
}
