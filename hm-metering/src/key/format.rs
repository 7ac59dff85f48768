//! The text of a key: generate and parse.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::secret::IssuedKey;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY_LEN: usize = 33;
const CRC_LEN: usize = 6;

/// Whether a key is for real use or for trying things out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyEnv {
    /// For real use.
    #[default]
    Live,
    /// For trying things out.
    Test,
}

impl KeyEnv {
    /// `live` or `test`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// The reverse of [`KeyEnv::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "live" => Some(Self::Live),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for KeyEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a prefix can't be used, or a text is no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// The prefix is not 2 to 16 of `a-z` and `0-9`, starting with a letter.
    #[error("a key's prefix has 2 to 16 lower-case letters and digits, starting with a letter")]
    Prefix,
    /// The text does not begin with prefix and environment.
    #[error("not a key of ours: wrong prefix or environment")]
    Foreign,
    /// The text has the wrong length, or a character that keys don't have.
    #[error("not a key: wrong length or characters")]
    Shape,
    /// The checksum does not fit: a typing mistake, or made up.
    #[error("not a key: wrong checksum")]
    Checksum,
}

/// What a well-formed key says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParsedKey {
    /// Whether it is a live or a test key.
    pub env: KeyEnv,
}

/// The format of one product's keys; see the [module](crate::key) for the layout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFormat {
    prefix: String,
}

impl Default for KeyFormat {
    fn default() -> Self {
        Self {
            prefix: "hm".to_owned(),
        }
    }
}

impl KeyFormat {
    /// Keys that begin with `prefix`; one underscore at its end is taken as part of the layout and left out.
    ///
    /// # Errors
    /// [`KeyFormatError::Prefix`].
    pub fn new(prefix: &str) -> Result<Self, KeyFormatError> {
        let prefix = prefix.strip_suffix('_').unwrap_or(prefix);
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = (2..=16).contains(&prefix.len())
            && prefix.bytes().all(plain)
            && prefix.as_bytes()[0].is_ascii_lowercase();
        if good {
            Ok(Self {
                prefix: prefix.to_owned(),
            })
        } else {
            Err(KeyFormatError::Prefix)
        }
    }

    /// The prefix, without underscore.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Makes a key from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn generate(&self, env: KeyEnv) -> Result<IssuedKey, getrandom::Error> {
        let mut text = String::with_capacity(self.prefix.len() + 6 + BODY_LEN + CRC_LEN);
        text.push_str(&self.prefix);
        text.push('_');
        text.push_str(env.as_str());
        text.push('_');
        let mut left = BODY_LEN;
        while left > 0 {
            let mut random = Zeroizing::new([0_u8; 64]);
            getrandom::fill(random.as_mut())?;
            // 248 is the largest multiple of 62 in a byte: bytes above it would favour some characters.
            for byte in random.iter().filter(|byte| **byte < 248).take(left) {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
                left -= 1;
            }
        }
        let crc = checksum(text.as_bytes());
        text.extend(crc.map(char::from));
        Ok(IssuedKey::new(text))
    }

    /// Checks `text` without asking any store.
    ///
    /// # Errors
    /// The reason why it can't be a key. Don't tell it to the caller: outside, all wrong keys look alike.
    pub fn parse(&self, text: &str) -> Result<ParsedKey, KeyFormatError> {
        let rest = self.after_prefix(text).ok_or(KeyFormatError::Foreign)?;
        let (env, rest) = rest.split_once('_').ok_or(KeyFormatError::Foreign)?;
        let env = KeyEnv::parse(env).ok_or(KeyFormatError::Foreign)?;
        if rest.len() != BODY_LEN + CRC_LEN || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(KeyFormatError::Shape);
        }
        let (covered, crc) = text.as_bytes().split_at(text.len() - CRC_LEN);
        if checksum(covered) == crc {
            Ok(ParsedKey { env })
        } else {
            Err(KeyFormatError::Checksum)
        }
    }

    /// Whether `text` begins like a key of this format. It tells a key from other bearer tokens.
    #[must_use]
    pub fn claims(&self, text: &str) -> bool {
        self.after_prefix(text).is_some()
    }

    fn after_prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.strip_prefix(self.prefix.as_str())?.strip_prefix('_')
    }
}

fn checksum(covered: &[u8]) -> [u8; CRC_LEN] {
    let mut crc = crc32fast::hash(covered);
    let mut text = [b'0'; CRC_LEN];
    for digit in text.iter_mut().rev() {
        *digit = ALPHABET[(crc % 62) as usize];
        crc /= 62;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A published key's format can't change: this text must stay valid for ever. Its checksum was computed by
    /// zlib's `crc32`, not by this code.
    const PINNED: &str = "hm_live_0123456789ABCDEFGHIJKLMNOPQRSTUVW3pPOh0";

    #[test]
    fn the_format_is_pinned() {
        let format = KeyFormat::default();
        assert_eq!(format.parse(PINNED), Ok(ParsedKey { env: KeyEnv::Live }));
        assert_eq!(PINNED.len(), 47);
    }

    #[test]
    fn a_generated_key_has_the_published_layout() {
        let key = KeyFormat::new("acme_").unwrap().generate(KeyEnv::Test).unwrap();
        let text = key.expose();
        assert!(text.starts_with("acme_test_"));
        assert_eq!(text.len(), "acme_test_".len() + 39);
        assert_eq!(key.display_prefix(), &text[..14]);
        assert_eq!(key.last4(), &text[text.len() - 4..]);
        assert_eq!(
            format!("{key:?} {:?}", key.to_presented()),
            "IssuedKey(…) PresentedKey(…)"
        );
    }

    #[test]
    fn every_single_changed_character_is_noticed() {
        let format = KeyFormat::default();
        for env in [KeyEnv::Live, KeyEnv::Test] {
            let key = format.generate(env).unwrap();
            let text = key.expose().as_bytes();
            for at in 0..text.len() {
                for other in 0x20..0x7f_u8 {
                    if other != text[at] {
                        let mut changed = text.to_vec();
                        changed[at] = other;
                        let changed = String::from_utf8(changed).unwrap();
                        assert!(format.parse(&changed).is_err(), "position {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn keys_of_another_prefix_are_foreign() {
        let key = KeyFormat::new("acme").unwrap().generate(KeyEnv::Live).unwrap();
        assert_eq!(
            KeyFormat::default().parse(key.expose()),
            Err(KeyFormatError::Foreign)
        );
    }

    #[test]
    fn a_prefix_is_short_and_plain() {
        for bad in ["", "h", "_", "9a", "Hm", "h-m", "averyveryverylongprefix", "hm__"] {
            assert_eq!(KeyFormat::new(bad), Err(KeyFormatError::Prefix), "{bad:?}");
        }
        assert_eq!(KeyFormat::new("hm_"), Ok(KeyFormat::default()));
    }

    proptest! {
        #[test]
        fn generated_keys_round_trip(test in any::<bool>(), prefix in "[a-z][a-z0-9]{1,15}") {
            let format = KeyFormat::new(&prefix).unwrap();
            let env = if test { KeyEnv::Test } else { KeyEnv::Live };
            let key = format.generate(env).unwrap();
            prop_assert_eq!(format.parse(key.expose()), Ok(ParsedKey { env }));
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text in any::<String>()) {
            prop_assert!(KeyFormat::default().parse(&text).is_err());
            let claimed = format!("hm_live_{text}");
            prop_assert!(KeyFormat::default().parse(&claimed).is_err());
        }

        #[test]
        fn cut_and_lengthened_keys_are_refused(cut in 0_usize..47, more in "[0-9A-Za-z]{1,4}") {
            let format = KeyFormat::default();
            let key = format.generate(KeyEnv::Live).unwrap();
            prop_assert!(format.parse(&key.expose()[..cut]).is_err());
            let longer = format!("{}{more}", key.expose());
            prop_assert!(format.parse(&longer).is_err());
        }
    }
}
