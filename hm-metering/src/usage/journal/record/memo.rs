//! Texts that many records have in common, made once and shared by the events that have them.

use crate::usage::Text;

/// How many of one kind are remembered; a service has about as many routes.
const PLACES: usize = 64;

/// The last texts of one kind, each in the one place that it can stand in.
#[derive(Debug)]
pub(super) struct Memo<T>(Box<[Option<T>; PLACES]>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Box::new([const { None }; PLACES]))
    }
}

impl<T: Shared> Memo<T> {
    /// The text of these bytes. None if they are no such text.
    pub(super) fn get(&mut self, bytes: &[u8]) -> Option<T> {
        let place = &mut self.0[place_of(bytes)];
        if let Some(has) = place.as_ref().filter(|has| has.text().as_bytes() == bytes) {
            return Some(has.clone());
        }
        let made = T::make(std::str::from_utf8(bytes).ok()?)?;
        Some(place.insert(made).clone())
    }
}

/// Something made of a text that is copied cheaply.
pub(super) trait Shared: Clone {
    /// None if the text is no such thing.
    fn make(text: &str) -> Option<Self>;

    fn text(&self) -> &str;
}

impl Shared for Text {
    fn make(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }

    fn text(&self) -> &str {
        self
    }
}

/// Any will do that usually tells routes apart: it takes the length, and the first and the last eight bytes.
fn place_of(bytes: &[u8]) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = |chunk: Option<&[u8; 8]>| chunk.map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let ends = match bytes.len() {
        0..8 => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        _ => word(bytes.first_chunk()) ^ word(bytes.last_chunk()).rotate_left(29),
    };
    ((ends ^ bytes.len() as u64).wrapping_mul(SPREAD) >> 58) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_as_long_as_no_other_takes_its_place() {
        let mut memo = Memo::<Text>::default();
        let first = memo.get(b"/api/v1/data").unwrap();
        assert_eq!(&*first, "/api/v1/data");
        assert!(std::ptr::eq(&*first, &*memo.get(b"/api/v1/data").unwrap()));
        for number in 0..10_000 {
            let text = format!("/api/v1/data/{number}");
            assert_eq!(&*memo.get(text.as_bytes()).unwrap(), text);
        }
        assert_eq!(&*memo.get(b"/api/v1/data").unwrap(), "/api/v1/data");
    }

    #[test]
    fn bytes_that_are_no_text_are_none_and_change_nothing() {
        let mut memo = Memo::<Text>::default();
        assert_eq!(memo.get(b"\xff"), None);
        assert_eq!(memo.get(b"").as_deref(), Some(""));
    }

    #[test]
    fn every_place_is_one_that_is_there() {
        for len in 0..=256 {
            for byte in [0, 1, 0x7f, 0xff] {
                assert!(place_of(&vec![byte; len]) < PLACES);
            }
        }
    }
}
