//! What Python's `zoneinfo` says of periods. `tests/oracle/periods.py` makes the table and says how.

use chrono::Weekday;
use hm_metering::Timestamp;
use hm_metering::period::{Period, PeriodRule};

const TABLE: &str = include_str!("../../oracle/periods.csv");

/// 2025, in seconds: from here on the table counts only for the version of the database that it was made with.
const YET_TO_COME: i64 = 1_735_689_600;

fn rule(word: &str) -> PeriodRule {
    match word {
        "anchored_month" => PeriodRule::AnchoredMonth,
        "calendar_month" => PeriodRule::CalendarMonth,
        "week" => PeriodRule::WEEK,
        "week_sunday" => PeriodRule::Week {
            first_day: Weekday::Sun,
        },
        "day" => PeriodRule::Day,
        "hour" => PeriodRule::Hour,
        other => panic!("{other} is no rule of the table"),
    }
}

#[test]
fn periods_are_those_of_zoneinfo() {
    let mut lines = TABLE.lines();
    let version = lines.next().unwrap().strip_prefix("# tzdata ").unwrap();
    let is_same_database = version == chrono_tz::IANA_TZDB_VERSION;
    assert_eq!(lines.next(), Some("zone,rule,at,anchor,start,end"));
    let mut compared = 0;
    for line in lines {
        let fields: Vec<_> = line.split(',').collect();
        let [at, anchor, start, end] = [2, 3, 4, 5].map(|field: usize| fields[field].parse::<i64>().unwrap());
        if end > YET_TO_COME && !is_same_database {
            continue;
        }
        let [at, anchor, start, end] =
            [at, anchor, start, end].map(|second| Timestamp::from_micros(second * 1_000_000));
        let rule = rule(fields[1]).in_zone(fields[0].parse().unwrap());
        assert_eq!(rule.period_at(at, anchor), Period { start, end }, "{line}");
        compared += 1;
    }
    assert!(compared > 10_000, "{compared} rows were compared");
}
