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
    /// Keys of an earlier system, if there are any.
    pub legacy: Option<LegacyKeys>,
}

/// `[keys.legacy]`.
#[derive(Clone, Debug)]
pub struct LegacyKeys {
    /// What they begin with.
    pub prefix: String,
    /// By how many of their first characters they are found.
    pub start: usize,
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
            legacy: legacy(reader),
        }
    }
}

fn legacy(reader: &mut Reader) -> Option<LegacyKeys> {
    let prefix = reader.text("keys.legacy.prefix");
    let start = reader.size("keys.legacy.start", 8..=64);
    if prefix.is_empty() {
        return None;
    }
    if start < prefix.len() + 8 || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        reader.mistake(
            "keys.legacy.start",
            "must be at least 8 more than the prefix has, which must be plain characters",
        );
    }
    Some(LegacyKeys { prefix, start })
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
