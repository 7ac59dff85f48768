//! Names and passwords that people choose.

use crate::secret::Secret;

const LONGEST_NAME: usize = 100;
const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1024;

/// A name of a person or a key, without white space around it.
///
/// # Errors
///
/// What is wrong with it.
pub fn name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() {
        return Err("must not be empty");
    }
    if name.chars().count() > LONGEST_NAME {
        return Err("must have at most 100 characters");
    }
    if name.chars().any(char::is_control) {
        return Err("must not contain control characters");
    }
    Ok(name.to_owned())
}

/// A password that may be set: from 8 to 1,024 bytes, any of them.
///
/// # Errors
///
/// What is wrong with it.
pub fn new_password(password: Secret) -> Result<Secret, &'static str> {
    match password.expose().len() {
        0..SHORTEST_PASSWORD => Err("must have at least 8 characters"),
        SHORTEST_PASSWORD..=LONGEST_PASSWORD => Ok(password),
        _ => Err("must have at most 1024 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_anything_that_people_are_called() {
        assert_eq!(
            name("  Robert'); DROP TABLE users;-- ").unwrap(),
            "Robert'); DROP TABLE users;--"
        );
        assert!(name("名前").is_ok());
        for wrong in ["", "   ", "a\0b", "a\nb", &"x".repeat(101)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn passwords_have_a_shortest_and_a_longest_length() {
        assert!(new_password(Secret::new("seven77")).is_err());
        assert!(new_password(Secret::new("eight888")).is_ok());
        assert!(new_password(Secret::new("x".repeat(1024))).is_ok());
        assert!(new_password(Secret::new("x".repeat(1025))).is_err());
    }
}
