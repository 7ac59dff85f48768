//! API keys.

use super::reader::Reader;

/// `[keys]`.
#[derive(Clone, Debug)]
pub struct KeysConfig {
    /// What keys begin with, without the underscore.
    pub prefix: String,
    /// Keys an account may have at the same time.
    pub max_per_account: u64,
}

impl KeysConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            prefix: reader.parsed(
                "keys.prefix",
                "a prefix of one to sixteen lower-case letters and digits that begins with a letter",
                "hm".to_owned(),
                prefix,
            ),
            max_per_account: reader.integer("keys.max_per_account", 1..=100_000),
        }
    }
}

fn prefix(text: &str) -> Option<String> {
    let prefix = text.strip_suffix('_').unwrap_or(text);
    let fits = (1..=16).contains(&prefix.len())
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    fits.then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_underscore_is_optional() {
        assert_eq!(prefix("hm_").as_deref(), Some("hm"));
        assert_eq!(prefix("acme1").as_deref(), Some("acme1"));
        for wrong in ["", "_", "HM", "1a", "a-b", "a_b", "averyveryverylongprefix"] {
            assert_eq!(prefix(wrong), None, "{wrong}");
        }
    }
}
