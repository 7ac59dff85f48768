//! Tests that a machine has nothing for say so, and don't pass in silence.

use std::io::Write;

/// Says why a test is skipped, past the test runner, which keeps what a passing test prints to itself.
///
/// # Panics
///
/// When `HM_REQUIRE_SERVICES=1`: a machine that has to run everything must have what everything needs.
pub fn skipped(why: &str) {
    assert!(!is_required(), "{why}");
    let text = format!("SKIPPED: {why}; HM_REQUIRE_SERVICES=1 makes this a failure\n");
    // A standard error that is closed hears nothing; the test goes on.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The same for a program of a database that is not there.
///
/// # Panics
///
/// When `HM_REQUIRE_SERVICES=1`.
pub fn not_installed(what: &str) {
    skipped(&format!("{what} is not installed"));
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn is_required() -> bool {
    std::env::var("HM_REQUIRE_SERVICES").is_ok_and(|value| value == "1")
}
