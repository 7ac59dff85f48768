//! E-mail addresses.

const LONGEST: usize = 254;
const LONGEST_LOCAL: usize = 64;

/// An address that can be written to, as far as its looks tell; trimmed and in lower case, so that it is unique.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email(String);

impl Email {
    /// Takes an address.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let email = text.trim().to_lowercase();
        if email.len() > LONGEST {
            return Err("must have at most 254 characters");
        }
        let not_an_address = "must be an e-mail address";
        if email
            .chars()
            .any(|each| each.is_control() || each.is_whitespace() || "<>()[]\\,;:\"".contains(each))
        {
            return Err(not_an_address);
        }
        let (local, host) = email.split_once('@').ok_or(not_an_address)?;
        let local_fits = (1..=LONGEST_LOCAL).contains(&local.len());
        if local_fits && is_host(host) {
            Ok(Self(email))
        } else {
            Err(not_an_address)
        }
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the `@`.
    #[must_use]
    pub fn local(&self) -> &str {
        self.0.split_once('@').map_or(self.as_str(), |(local, _)| local)
    }
}

fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|each| each == '-' || each.is_alphanumeric())
    };
    host.contains('.') && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_trimmed_and_lower_cased() {
        let email = Email::parse("  Ada.Lovelace+HM@Example.ORG ").unwrap();
        assert_eq!(email.as_str(), "ada.lovelace+hm@example.org");
        assert_eq!(email.local(), "ada.lovelace+hm");
        assert!(Email::parse("jürgen@bücher.example").is_ok());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}.org", "b.".repeat(130));
        for wrong in [
            "", "a", "@b.c", "a@", "a@b", "a@b@c.d", "a b@c.d", "a@b..c", "a@.b.c", "a@b.c.", "a\n@b.c",
            "<a@b.c>", "a@-b.c", "a@b c.d", &long, &longer,
        ] {
            assert!(Email::parse(wrong).is_err(), "{wrong}");
        }
    }
}
