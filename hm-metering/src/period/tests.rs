//! What periods are, by example and by property.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Antarctica/Troll",
];

fn ts(text: &str) -> Timestamp {
    text.parse::<DateTime<Utc>>().unwrap().into()
}

fn length(seconds: u32) -> NonZeroU32 {
    NonZeroU32::new(seconds).unwrap()
}

fn zoned(rule: PeriodRule, zone: &str) -> PeriodRule {
    rule.in_zone(zone.parse().unwrap())
}

/// Start and end as text.
fn around(rule: PeriodRule, at: &str) -> (String, String) {
    let period = rule.period_at(ts(at), Timestamp::default());
    (period.start.to_string(), period.end.to_string())
}

fn anchored(at: &str, anchor: &str) -> (String, String) {
    let period = PeriodRule::AnchoredMonth.period_at(ts(at), ts(anchor));
    (period.start.to_string(), period.end.to_string())
}

fn texts(start: &str, end: &str) -> (String, String) {
    (start.to_owned(), end.to_owned())
}

#[test]
fn a_month_is_anchored_on_the_day_the_account_began() {
    assert_eq!(
        anchored("2026-12-01T12:00:00Z", "2026-11-25T13:14:15Z"),
        texts("2026-11-25T00:00:00Z", "2026-12-25T00:00:00Z")
    );
}

#[test]
fn day_31_is_clamped_in_short_months_and_comes_back() {
    let anchor = "2026-01-31T08:00:00Z";
    assert_eq!(anchored("2026-02-10T00:00:00Z", anchor).1, "2026-02-28T00:00:00Z");
    assert_eq!(anchored("2026-02-28T00:00:00Z", anchor).1, "2026-03-31T00:00:00Z");
    assert_eq!(anchored("2026-04-10T00:00:00Z", anchor).1, "2026-04-30T00:00:00Z");
    assert_eq!(anchored("2028-02-29T00:00:00Z", anchor).0, "2028-02-29T00:00:00Z");
}

#[test]
fn the_edge_belongs_to_the_new_period() {
    let anchor = "2026-01-15T00:00:00Z";
    assert_eq!(anchored("2026-02-15T00:00:00Z", anchor).0, "2026-02-15T00:00:00Z");
    assert_eq!(
        anchored("2026-02-14T23:59:59.999999Z", anchor).0,
        "2026-01-15T00:00:00Z"
    );
}

#[test]
fn times_before_the_anchor_have_a_period_too() {
    assert_eq!(
        anchored("2025-03-01T00:00:00Z", "2026-01-31T00:00:00Z").0,
        "2025-02-28T00:00:00Z"
    );
}

#[test]
fn a_week_begins_on_monday_or_the_day_that_is_named() {
    let at = "2026-11-25T13:14:15Z"; // a Wednesday
    assert_eq!(
        around(PeriodRule::WEEK, at),
        texts("2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z")
    );
    let sunday = PeriodRule::Week {
        first_day: Weekday::Sun,
    };
    assert_eq!(
        around(sunday, at),
        texts("2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z")
    );
    let wednesday = PeriodRule::Week {
        first_day: Weekday::Wed,
    };
    assert_eq!(around(wednesday, at).0, "2026-11-25T00:00:00Z");
}

#[test]
fn fixed_lengths_count_from_the_epoch_or_from_when_the_account_began() {
    let at = ts("2026-11-25T13:14:15Z");
    let quarter = PeriodRule::Fixed { seconds: length(900) }.period_at(at, ts("2026-11-25T13:10:07Z"));
    assert_eq!(quarter.start.to_string(), "2026-11-25T13:00:00Z");
    assert_eq!(quarter.end.to_string(), "2026-11-25T13:15:00Z");
    let own = PeriodRule::AnchoredFixed { seconds: length(900) }.period_at(at, ts("2026-11-25T12:10:07.5Z"));
    assert_eq!(own.start.to_string(), "2026-11-25T13:10:07Z");
    assert_eq!(own.end.to_string(), "2026-11-25T13:25:07Z");
}

#[test]
fn a_day_has_23_or_25_hours_when_the_clock_is_changed() {
    let berlin = zoned(PeriodRule::Day, "Europe/Berlin");
    let hours = |at: &str| berlin.period_at(ts(at), Timestamp::default()).length().as_secs() / 3_600;
    assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
    assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
    assert_eq!(hours("2026-11-25T12:00:00Z"), 24);
}

#[test]
fn a_midnight_that_is_jumped_over_is_the_moment_of_the_jump() {
    // On 4 November 2018 the clocks of São Paulo went from midnight to one o'clock.
    let day = around(
        zoned(PeriodRule::Day, "America/Sao_Paulo"),
        "2018-11-04T12:00:00Z",
    );
    assert_eq!(day, texts("2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"));
}

#[test]
fn a_midnight_that_comes_twice_counts_the_first_time() {
    // On 1 November 2009 the clocks of St. John's went from one past midnight to one past eleven.
    let rule = zoned(PeriodRule::Day, "America/St_Johns");
    let day = texts("2009-11-01T02:30:00Z", "2009-11-02T03:30:00Z");
    assert_eq!(around(rule, "2009-11-01T02:30:30Z"), day);
    // A quarter of an hour after the change the calendar shows October once more.
    assert_eq!(around(rule, "2009-11-01T02:46:00Z"), day);
    assert_eq!(around(rule, "2009-11-01T12:00:00Z"), day);
}

#[test]
fn a_day_that_the_calendar_leaves_out_has_no_period() {
    // Apia went from 29 to 31 December 2011.
    let rule = zoned(PeriodRule::Day, "Pacific/Apia");
    assert_eq!(
        around(rule, "2011-12-30T09:59:59Z"),
        texts("2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z")
    );
    assert_eq!(
        around(rule, "2011-12-30T10:00:00Z"),
        texts("2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z")
    );
}

#[test]
fn hours_follow_a_clock_that_is_not_on_the_full_hour_of_utc() {
    assert_eq!(
        around(zoned(PeriodRule::Hour, "Asia/Kathmandu"), "2026-11-25T13:14:15Z"),
        texts("2026-11-25T12:15:00Z", "2026-11-25T13:15:00Z")
    );
    // An hour that comes again is one of its own.
    let berlin = zoned(PeriodRule::Hour, "Europe/Berlin");
    for hour in ["2026-10-25T00", "2026-10-25T01"] {
        assert_eq!(
            around(berlin, &format!("{hour}:30:00Z")).0,
            format!("{hour}:00:00Z")
        );
    }
}

#[test]
fn an_hour_is_shorter_or_longer_when_the_clock_is_changed_by_half_an_hour() {
    let rule = zoned(PeriodRule::Hour, "Australia/Lord_Howe");
    // From 02:00 to 02:30 on 4 October 2026.
    assert_eq!(
        around(rule, "2026-10-03T15:10:00Z"),
        texts("2026-10-03T14:30:00Z", "2026-10-03T15:30:00Z")
    );
    assert_eq!(
        around(rule, "2026-10-03T15:30:00Z"),
        texts("2026-10-03T15:30:00Z", "2026-10-03T16:00:00Z")
    );
    // From 02:00 back to 01:30 on 5 April 2026.
    for at in [
        "2026-04-04T14:10:00Z",
        "2026-04-04T15:00:00Z",
        "2026-04-04T15:20:00Z",
    ] {
        assert_eq!(
            around(rule, at),
            texts("2026-04-04T14:00:00Z", "2026-04-04T15:30:00Z")
        );
    }
}

#[test]
fn a_month_in_a_zone_is_anchored_on_the_local_date() {
    let rule = zoned(PeriodRule::AnchoredMonth, "Asia/Tokyo");
    // Where the account began it was the first already.
    let period = rule.period_at(ts("2026-12-10T00:00:00Z"), ts("2026-10-31T16:00:00Z"));
    assert_eq!(period.start.to_string(), "2026-11-30T15:00:00Z");
    assert_eq!(period.end.to_string(), "2026-12-31T15:00:00Z");
}

#[test]
fn a_rolling_window_counts_a_unit_for_its_length_and_at_most_a_grain_longer() {
    let rule = PeriodRule::Rolling(Rolling::new(length(3_600), length(600)).unwrap());
    let used = ts("2026-11-25T13:14:15Z");
    let sub = rule.period_at(used, used);
    assert_eq!(sub.length(), Duration::from_secs(600));
    let counts_at = |later: u64| sub.start >= rule.window_start(used.plus(Duration::from_secs(later)), used);
    assert!(counts_at(3_600), "not forgotten before its time");
    assert!(!counts_at(3_600 + 600), "forgotten a grain later");
}

#[test]
fn other_windows_start_with_the_period() {
    let (at, anchor) = (ts("2026-11-25T13:14:15Z"), ts("2026-01-31T00:00:00Z"));
    for rule in [
        PeriodRule::AnchoredMonth,
        PeriodRule::WEEK,
        PeriodRule::Fixed { seconds: length(7) },
    ] {
        assert_eq!(rule.window_start(at, anchor), rule.period_at(at, anchor).start);
    }
}

#[test]
fn a_rule_in_utc_is_the_rule_without_a_zone() {
    let berlin = zoned(PeriodRule::Day, "Europe/Berlin");
    assert_eq!(berlin.in_zone(Zone::UTC), PeriodRule::Day);
    let fixed = PeriodRule::Fixed { seconds: length(1) };
    assert_eq!(zoned(fixed, "Europe/Berlin"), fixed);
    assert_eq!(berlin.name(), "day");
}

#[test]
fn the_ends_of_time_have_periods() {
    for rule in rules(length(7), length(7)) {
        for at in [Timestamp::MIN, Timestamp::MAX] {
            let period = rule.period_at(at, at);
            assert!(period.start <= at && at <= period.end, "{rule:?} {period:?}");
        }
    }
}

fn rules(fixed: NonZeroU32, grains: NonZeroU32) -> Vec<PeriodRule> {
    let day = length(86_400);
    let rolling = Rolling::new(length(grains.get() * 60), length(60)).unwrap();
    let mut all = vec![
        PeriodRule::Fixed { seconds: fixed },
        PeriodRule::AnchoredFixed { seconds: fixed },
        PeriodRule::Fixed { seconds: day },
        PeriodRule::Rolling(rolling),
    ];
    for zone in ZONES {
        let week = |first_day| PeriodRule::Week { first_day };
        let in_utc = [
            PeriodRule::AnchoredMonth,
            PeriodRule::CalendarMonth,
            week(Weekday::Mon),
            week(Weekday::Thu),
            week(Weekday::Sun),
            PeriodRule::Day,
            PeriodRule::Hour,
        ];
        all.extend(in_utc.map(|rule| zoned(rule, zone)));
    }
    all
}

proptest! {
    #[test]
    fn periods_tile_time(
        at in -2_000_000_000_i64..4_200_000_000,
        anchor in -2_000_000_000_i64..4_200_000_000,
        fixed in 1_u32..,
        grains in 1..=Rolling::MAX_GRAINS,
    ) {
        let (at, anchor) = (Timestamp::from_micros(at * 1_000_000), Timestamp::from_micros(anchor * 1_000_000));
        for rule in rules(length(fixed), length(grains)) {
            let period = rule.period_at(at, anchor);
            prop_assert!(period.contains(at), "{rule:?} {period:?} {at}");
            prop_assert_eq!(rule.period_at(period.start, anchor), period);
            prop_assert_eq!(rule.period_at(period.end, anchor).start, period.end);
            let before = Timestamp::from_micros(period.start.as_micros() - 1);
            prop_assert_eq!(rule.period_at(before, anchor).end, period.start);
            prop_assert!(rule.window_start(at, anchor) <= period.start);
        }
    }
}
