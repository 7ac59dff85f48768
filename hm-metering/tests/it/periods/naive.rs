//! Periods found by walking through local dates: every midnight and every full hour of a zone is written down in its
//! order, and a period is looked up in that list. It shares no arithmetic with the code under test.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone, Weekday};
use chrono_tz::Tz;
use hm_metering::Timestamp;
use hm_metering::period::PeriodRule;

const CASES: usize = 1_000_000;
const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;

/// From 1970 to 2040, in seconds.
const TIMES: RangeInclusive<i64> = 0..=70 * 365 * DAY;

const ZONES: [&str; 20] = [
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "America/Caracas",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
];

const RULES: [PeriodRule; 6] = [
    PeriodRule::AnchoredMonth,
    PeriodRule::CalendarMonth,
    PeriodRule::WEEK,
    PeriodRule::Week {
        first_day: Weekday::Sat,
    },
    PeriodRule::Day,
    PeriodRule::Hour,
];

/// A stretch of time in which the clock is not changed.
struct Span {
    from: i64,
    until: i64,
    offset: i64,
}

/// A zone's clock, written down.
struct Clock {
    spans: Vec<Span>,
    /// When the calendar showed a date for the first time, with the date.
    days: Vec<(i64, NaiveDate)>,
    /// When an hour began.
    hours: Vec<i64>,
}

fn offset(zone: Tz, at: i64) -> i64 {
    let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The spans, found by looking at the clock each day and more closely where it has changed.
fn spans(zone: Tz) -> Vec<Span> {
    let (start, end) = (TIMES.start() - 100 * DAY, TIMES.end() + 100 * DAY);
    let mut spans = Vec::new();
    let (mut from, mut at, mut reads) = (start, start, offset(zone, start));
    while at < end {
        let next = at + DAY;
        if offset(zone, next) != reads {
            let (mut before, mut after) = (at, next);
            while after - before > 1 {
                let middle = before.midpoint(after);
                if offset(zone, middle) == reads {
                    before = middle;
                } else {
                    after = middle;
                }
            }
            spans.push(Span {
                from,
                until: after,
                offset: reads,
            });
            (from, reads) = (after, offset(zone, next));
        }
        at = next;
    }
    spans.push(Span {
        from,
        until: end,
        offset: reads,
    });
    spans
}

impl Clock {
    fn of(zone: Tz) -> Self {
        let mut clock = Self {
            spans: spans(zone),
            days: Vec::new(),
            hours: Vec::new(),
        };
        let mut would_read = i64::MIN;
        for span in &clock.spans {
            let reads = span.from + span.offset;
            let is_jumped_over = reads > would_read && reads.div_euclid(HOUR) * HOUR >= would_read;
            if is_jumped_over || reads % HOUR == 0 {
                clock.hours.push(span.from);
            }
            let mut hour = (reads.div_euclid(HOUR) + 1) * HOUR;
            while hour - span.offset < span.until {
                clock.hours.push(hour - span.offset);
                hour += HOUR;
            }
            let mut local = reads;
            while local - span.offset < span.until {
                let date = DateTime::from_timestamp(local, 0).unwrap().date_naive();
                if clock.days.last().is_none_or(|(_, last)| date > *last) {
                    clock.days.push((local - span.offset, date));
                }
                local = (local.div_euclid(DAY) + 1) * DAY;
            }
            would_read = span.until + span.offset;
        }
        clock
    }

    /// Start and end of a period.
    fn period(&self, rule: PeriodRule, at: i64, anchor: i64) -> (i64, i64) {
        if rule == PeriodRule::Hour {
            let next = self.hours.partition_point(|hour| *hour <= at);
            return (self.hours[next - 1], self.hours[next]);
        }
        let anchor = self.date(anchor).day();
        let is_first = |date: NaiveDate| match rule {
            PeriodRule::AnchoredMonth => {
                let is_last = || date.succ_opt().unwrap().month() != date.month();
                date.day() == anchor || (date.day() < anchor && is_last())
            }
            PeriodRule::CalendarMonth => date.day() == 1,
            PeriodRule::Week { first_day } => date.weekday() == first_day,
            _ => true,
        };
        // A date that the calendar leaves out begins with the one that follows it.
        let begins = |day: usize| {
            let (before, date) = (self.days[day - 1].1, self.days[day].1);
            let mut left_out = before.succ_opt().unwrap();
            let mut begins = is_first(date);
            while left_out < date {
                begins |= is_first(left_out);
                left_out = left_out.succ_opt().unwrap();
            }
            begins
        };
        let next = self.days.partition_point(|(start, _)| *start <= at);
        let start = (0..next).rev().find(|day| begins(*day)).unwrap();
        let end = (next..).find(|day| begins(*day)).unwrap();
        (self.days[start].0, self.days[end].0)
    }

    /// The date that the calendar shows.
    fn date(&self, at: i64) -> NaiveDate {
        let span = self.spans.partition_point(|span| span.until <= at);
        DateTime::from_timestamp(at + self.spans[span].offset, 0)
            .unwrap()
            .date_naive()
    }

    /// A time: one of two anywhere, one around a change of the clock.
    fn time(&self, random: &mut Random) -> i64 {
        let change = &self.spans[random.below(self.spans.len())];
        let near = change.from + random.below(4 * DAY as usize) as i64 - 2 * DAY;
        if random.below(2) == 0 && TIMES.contains(&near) {
            near
        } else {
            random.below(*TIMES.end() as usize) as i64
        }
    }
}

/// SplitMix64, by Steele, Lea and Flood: good enough to spread cases, and quick without optimisation.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

/// Compares in one zone and says how many cases that were.
fn compare(name: &str, cases: usize) -> usize {
    let clock = Clock::of(name.parse().unwrap());
    let zone = name.parse().unwrap();
    let rules = RULES.map(|rule| (rule, rule.in_zone(zone)));
    let mut random = Random(cases as u64);
    for case in 0..cases {
        let (in_utc, rule) = rules[case % rules.len()];
        let (at, anchor) = (clock.time(&mut random), clock.time(&mut random));
        let [at_time, anchor_time] = [at, anchor].map(|second| Timestamp::from_micros(second * 1_000_000));
        let period = rule.period_at(at_time, anchor_time);
        let (start, end) = clock.period(in_utc, at, anchor);
        assert_eq!(
            (period.start.as_micros(), period.end.as_micros()),
            (start * 1_000_000, end * 1_000_000),
            "{rule:?} at {at_time}, anchored at {anchor_time}"
        );
    }
    cases
}

#[test]
fn a_million_periods_are_those_of_who_walks_through_the_dates() {
    let compared: usize = std::thread::scope(|scope| {
        let threads = ZONES.chunks(ZONES.len() / 2).map(|zones| {
            scope.spawn(move || {
                let each = CASES / ZONES.len();
                zones.iter().map(|zone| compare(zone, each)).sum::<usize>()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(compared, CASES);
}
