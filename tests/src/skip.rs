//! Tests that a machine has nothing for say so, and don't pass in silence.

use std::io::Write;

/// Says why a test is skipped, past the test runner, which keeps what a passing test prints to itself.
pub fn skipped(why: &str) {
    // A standard error that is closed hears nothing; the test goes on.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes());
}

/// Says that a test is skipped because a program of a database is not there.
///
/// # Panics
///
/// When `HM_REQUIRE_SERVICES=1`.
pub fn not_installed(what: &str) {
    assert!(!is_required(), "{what} is not installed");
    skipped(&format!(
        "{what} is not installed; HM_REQUIRE_SERVICES=1 makes this a failure"
    ));
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn is_required() -> bool {
    std::env::var("HM_REQUIRE_SERVICES").is_ok_and(|value| value == "1")
}
