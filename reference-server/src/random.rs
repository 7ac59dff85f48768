//! Random text for tokens and secrets.

use std::fmt::Write;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// `N` random bytes from the system as lower-case hexadecimal digits.
///
/// # Errors
///
/// The system has no random numbers to give.
pub fn hex<const N: usize>() -> Result<Secret, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(Secret::new(to_hex(bytes.as_slice())))
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
