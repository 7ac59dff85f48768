//! API keys.

use hm_metering::KeyFormat;

use super::reader::Reader;

/// `[keys]`.
#[derive(Clone, Debug)]
pub struct KeysConfig {
    /// How keys look; says what they begin with.
    pub format: KeyFormat,
    /// Keys an account may have at the same time.
    pub max_per_account: u64,
}

impl KeysConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            format: reader.parsed(
                "keys.prefix",
                "a prefix of 2 to 16 lower-case letters and digits that begins with a letter",
                KeyFormat::default(),
                format,
            ),
            max_per_account: reader.integer("keys.max_per_account", 1..=100_000),
        }
    }
}

fn format(prefix: &str) -> Option<KeyFormat> {
    KeyFormat::new(prefix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_underscore_is_optional() {
        assert_eq!(format("hm_").unwrap().prefix(), "hm");
        assert_eq!(format("acme1").unwrap().prefix(), "acme1");
        for wrong in ["", "_", "HM", "1a", "a-b", "a_b", "averyveryverylongprefix"] {
            assert_eq!(format(wrong), None, "{wrong}");
        }
    }
}
