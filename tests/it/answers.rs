//! What every metered answer must say.

use hm_system_tests::http::Answer;

/// Checks the headers of an answer, refused or not, of the free plan with these limits.
pub fn must_tell_the_limits(answer: &Answer, requests_per_month: u64, requests_per_second: u64) {
    let (limit, used) = (
        answer.number("x-ratelimit-limit"),
        answer.number("x-ratelimit-used"),
    );
    let remaining = answer.number("x-ratelimit-remaining");
    assert_eq!(limit, requests_per_month);
    if answer.status == 200 {
        assert_eq!(used + remaining, limit, "used and remaining");
    } else {
        // What requests under way have taken is not used yet, and can't be had.
        assert!(used + remaining <= limit, "{used} used and {remaining} remaining");
    }
    must_be_a_day(answer.header("x-ratelimit-reset"));
    let (month, second) = answer
        .header("ratelimit-policy")
        .split_once(", ")
        .expect("two policies");
    let window = month
        .strip_prefix(&format!("\"month\";q={limit};w="))
        .expect(month);
    let days = window.parse::<u64>().unwrap() / 86_400;
    assert!((28..=31).contains(&days), "a month of {days} days");
    assert_eq!(second, format!("\"second\";q={requests_per_second};w=1"));
    let (state, wait) = answer
        .header("ratelimit")
        .split_once(";t=")
        .expect("a state and a time");
    assert!(wait.parse::<u64>().is_ok(), "{wait}");
    assert!(
        state == format!("\"month\";r={remaining}") || state.starts_with("\"second\";r="),
        "{state} with {remaining} left"
    );
    assert!(!answer.header("x-request-id").is_empty());
    let may_be_repeated = [429, 503].contains(&answer.status);
    assert_eq!(
        !answer.header("retry-after").is_empty(),
        may_be_repeated,
        "Retry-After on {}",
        answer.status
    );
    if may_be_repeated {
        assert!(answer.number("retry-after") >= 1);
    }
}

/// `2026-12-25`.
fn must_be_a_day(text: &str) {
    let parts: Vec<_> = text.split('-').map(str::parse::<u32>).collect();
    let is_day = text.len() == 10 && matches!(parts.as_slice(), [Ok(2026..), Ok(1..=12), Ok(1..=31)]);
    assert!(is_day, "X-RateLimit-Reset: {text}");
}

/// `2026-12-25T00:00:00Z`, with or without a fraction.
pub fn must_be_a_time(text: &str) {
    let (day, time) = text.split_once('T').expect(text);
    must_be_a_day(day);
    let time = time.strip_suffix('Z').expect(text);
    assert!(
        time.len() >= 8 && time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':',
        "{text}"
    );
}

/// The time with nine digits after the second, so that texts sort as times do.
pub fn sortable_time(text: &str) -> String {
    must_be_a_time(text);
    let (whole, fraction) = text
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((text.trim_end_matches('Z'), ""));
    format!("{whole}.{fraction:0<9}Z")
}
