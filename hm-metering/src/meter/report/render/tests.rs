use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;
use sfv::{BareItem, Dictionary, Item, List, ListEntry, Parser};

use super::*;
use crate::meter::report::shape::LimitShape;
use crate::meter::report::{HeaderStyle, RateReport};
use crate::name::{MeterName, PlanId};
use crate::period::{Period, PeriodRule};
use crate::plan::{Plan, Quota, QuotaMode, RateLimit};
use crate::time::Timestamp;
use crate::units::Units;

/// 30 days that end on 25 December 2026.
const PERIOD: Period = Period {
    start: Timestamp::from_micros(1_795_564_800_000_000),
    end: Timestamp::from_micros(1_798_156_800_000_000),
};
/// A little less than 13 days before that end.
const NOW: Timestamp = Timestamp::from_micros(1_797_033_600_500_000);

fn rate(name: &str, limit: u32, per: Duration) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        limit,
        per,
        burst: limit,
    }
}

fn quota(meter: &str, limit: Option<Units>) -> Quota {
    Quota {
        meter: MeterName::parse(meter).unwrap(),
        limit,
        period: PeriodRule::CalendarMonth,
        mode: QuotaMode::Strict,
    }
}

fn report(style: HeaderStyle, rates: Vec<RateLimit>, quotas: Vec<Quota>) -> LimitReport {
    let shown = (!quotas.is_empty()).then_some((0, PERIOD));
    let plan = Arc::new(Plan {
        id: PlanId::from_static("pro"),
        rates,
        concurrency: Vec::new(),
        quotas,
    });
    LimitReport {
        shape: Arc::new(LimitShape::new(style, &plan, shown)),
        now: NOW,
        used: Units::new(1_523),
        rate: None,
        in_flight: Units::ZERO,
        quota_wait: None,
    }
}

/// A plan of 10,000 a month, unless unlimited, and 500 a second.
pub(super) fn pro(style: HeaderStyle, limit: Option<u64>) -> LimitReport {
    report(
        style,
        vec![rate("second", 500, Duration::from_secs(1))],
        vec![quota("requests", limit.map(Units::new))],
    )
}

const fn of_rate(remaining: u32, wait: Option<Duration>) -> Option<RateReport> {
    Some(RateReport {
        position: 0,
        remaining,
        wait,
    })
}

fn lines(headers: &HeaderMap) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    headers.iter().map(line).collect()
}

fn written(report: &LimitReport) -> Vec<String> {
    let mut headers = HeaderMap::new();
    report.write(&mut headers);
    lines(&headers)
}

#[test]
fn a_limited_plan_shows_its_quota() {
    assert_eq!(
        written(&pro(HeaderStyle::default(), Some(10_000))),
        [
            "x-ratelimit-limit: 10000",
            "x-ratelimit-used: 1523",
            "x-ratelimit-remaining: 8477",
            "x-ratelimit-reset: 2026-12-25",
            "ratelimit-policy: \"month\";q=10000;w=2592000, \"second\";q=500;w=1",
            "ratelimit: \"month\";r=8477;t=1123200",
        ]
    );
}

#[test]
fn an_unlimited_plan_says_so_and_shows_its_rate() {
    let report = LimitReport {
        rate: of_rate(499, None),
        ..pro(HeaderStyle::default(), None)
    };
    assert_eq!(
        written(&report),
        [
            "x-ratelimit-limit: unlimited",
            "x-ratelimit-used: 1523",
            "x-ratelimit-remaining: unlimited",
            "x-ratelimit-reset: 2026-12-25",
            "ratelimit-policy: \"second\";q=500;w=1",
            "ratelimit: \"second\";r=499;t=1",
        ]
    );
}

#[test]
fn a_plan_without_any_limit_has_no_draft_headers() {
    for draft in [HeaderDraft::V6, HeaderDraft::V7, HeaderDraft::V8] {
        let style = HeaderStyle::NONE.with_draft(draft);
        assert!(written(&report(style, Vec::new(), Vec::new())).is_empty());
        assert!(written(&report(style, Vec::new(), vec![quota("requests", None)])).is_empty());
    }
}

#[test]
fn a_violated_rate_is_the_one_that_is_shown() {
    let wait = Some(Duration::from_millis(1_200));
    let report = LimitReport {
        rate: of_rate(0, wait),
        ..pro(HeaderStyle::default(), Some(10_000))
    };
    assert_eq!(written(&report).last().unwrap(), "ratelimit: \"second\";r=0;t=2");
}

#[test]
fn each_revision_of_the_draft_is_written_as_it_demands() {
    let minute = |draft| LimitReport {
        rate: of_rate(50, Some(Duration::from_millis(4_001))),
        ..report(
            HeaderStyle::NONE.with_draft(draft),
            vec![rate("burst", 100, Duration::from_secs(60))],
            Vec::new(),
        )
    };
    assert_eq!(
        written(&minute(HeaderDraft::V6)),
        [
            "ratelimit-policy: 100;w=60",
            "ratelimit-limit: 100",
            "ratelimit-remaining: 50",
            "ratelimit-reset: 5",
        ]
    );
    assert_eq!(
        written(&minute(HeaderDraft::V7)),
        [
            "ratelimit-policy: 100;w=60",
            "ratelimit: limit=100, remaining=50, reset=5",
        ]
    );
    assert_eq!(
        written(&minute(HeaderDraft::V8)),
        [
            "ratelimit-policy: \"burst\";q=100;w=60",
            "ratelimit: \"burst\";r=50;t=5"
        ]
    );
}

#[test]
fn the_reset_is_a_day_a_second_or_a_wait() {
    for (format, text) in [
        (ResetFormat::Date, "2026-12-25"),
        (ResetFormat::EpochSeconds, "1798156800"),
        (ResetFormat::DeltaSeconds, "1123200"),
    ] {
        let style = HeaderStyle::NONE.with_classic(format);
        assert_eq!(
            written(&pro(style, Some(10_000))),
            [
                "x-ratelimit-limit: 10000".to_owned(),
                "x-ratelimit-used: 1523".to_owned(),
                "x-ratelimit-remaining: 8477".to_owned(),
                format!("x-ratelimit-reset: {text}"),
            ]
        );
    }
}

#[test]
fn families_are_combined_or_left_out() {
    let both = HeaderStyle::NONE
        .with_classic(ResetFormat::DeltaSeconds)
        .with_draft(HeaderDraft::V6);
    assert_eq!(
        written(&pro(both, Some(10_000))),
        [
            "x-ratelimit-limit: 10000",
            "x-ratelimit-used: 1523",
            "x-ratelimit-remaining: 8477",
            "x-ratelimit-reset: 1123200",
            "ratelimit-policy: 10000;w=2592000, 500;w=1",
            "ratelimit-limit: 10000",
            "ratelimit-remaining: 8477",
            "ratelimit-reset: 1123200",
        ]
    );
    assert!(written(&pro(HeaderStyle::NONE, Some(10_000))).is_empty());
    let default = HeaderStyle::default();
    assert_eq!(written(&pro(default.without_classic(), Some(10_000))).len(), 2);
    assert_eq!(written(&pro(default.without_draft(), Some(10_000))).len(), 4);
}

#[test]
fn a_window_never_looks_shorter_than_it_is() {
    let style = HeaderStyle::NONE.with_draft(HeaderDraft::V8);
    for (millis, window) in [(100, 1), (1_000, 1), (1_500, 2), (60_000, 60)] {
        let rates = vec![rate("burst", 10, Duration::from_millis(millis))];
        let policy = format!("ratelimit-policy: \"burst\";q=10;w={window}");
        assert_eq!(written(&report(style, rates, Vec::new()))[0], policy);
    }
}

#[test]
fn a_wait_for_something_else_is_not_contradicted() {
    let mut headers = HeaderMap::new();
    pro(HeaderStyle::default(), Some(10_000)).write_refused(Some(Duration::from_secs(1)), b"", &mut headers);
    assert_eq!(headers["ratelimit"], "\"month\";r=8477");
    let mut headers = HeaderMap::new();
    let style = HeaderStyle::NONE.with_draft(HeaderDraft::V6);
    pro(style, Some(10_000)).write_refused(Some(Duration::from_secs(1)), b"", &mut headers);
    assert!(!headers.contains_key("ratelimit-reset"), "{headers:?}");
}

fn units() -> impl Strategy<Value = Units> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(Units::MAX.get()),
        Just(u64::MAX),
        any::<u64>(),
        0..100_000_u64
    ]
    .prop_map(Units::new)
}

prop_compose! {
    fn rates()(
        rates in prop::collection::vec((".{0,100}", 1..=u32::MAX, 1..=u64::MAX), 0..4),
    ) -> Vec<RateLimit> {
        rates
            .into_iter()
            .map(|(name, limit, nanos)| rate(&name, limit, Duration::from_nanos(nanos)))
            .collect()
    }
}

prop_compose! {
    fn reports()(
        draft in prop::sample::select(vec![HeaderDraft::V6, HeaderDraft::V7, HeaderDraft::V8]),
        rates in rates(),
        limit in prop::option::of(units()),
        has_quota in any::<bool>(),
        meter in "[a-z0-9][a-z0-9._-]{0,63}",
        used in units(),
        now in any::<i64>(),
        remaining in any::<u32>(),
        position in 0..4_usize,
        wait in prop::option::of(any::<u64>()),
        quota_wait in prop::option::of(any::<u64>()),
    ) -> (HeaderDraft, LimitReport) {
        let quotas = if has_quota { vec![quota(&meter, limit)] } else { Vec::new() };
        let rate = (position < rates.len()).then_some(RateReport {
            position,
            remaining,
            wait: wait.map(Duration::from_nanos),
        });
        let report = LimitReport {
            now: Timestamp::from_micros(now),
            used,
            rate,
            in_flight: Units::ZERO,
            quota_wait: quota_wait.map(Duration::from_nanos),
            ..report(HeaderStyle::default().with_draft(draft), rates, quotas)
        };
        (draft, report)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

fn integer(item: &Item) -> u64 {
    u64::try_from(i64::from(item.bare_item.as_integer().unwrap())).unwrap()
}

fn parameter(item: &Item, name: &str) -> Option<u64> {
    let value = item.params.iter().find(|(has, _)| has.as_str() == name)?.1;
    Some(u64::try_from(i64::from(value.as_integer().unwrap())).unwrap())
}

fn items(value: &str) -> Vec<Item> {
    let list = Parser::new(value).parse::<List>().unwrap();
    list.into_iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => item,
            ListEntry::InnerList(list) => panic!("{list:?} in {value}"),
        })
        .collect()
}

/// The name, what remains and when there is more, as an independent parser reads them.
fn read_state(draft: HeaderDraft, headers: &HeaderMap) -> Option<(Option<String>, u64, u64)> {
    match draft {
        HeaderDraft::V6 => {
            let read = |name| {
                let value = text(headers, name)?;
                Some(integer(&Parser::new(value).parse::<Item>().unwrap()))
            };
            read("ratelimit-limit")?;
            Some((None, read("ratelimit-remaining")?, read("ratelimit-reset")?))
        }
        HeaderDraft::V7 => {
            let dictionary = Parser::new(text(headers, "ratelimit")?)
                .parse::<Dictionary>()
                .unwrap();
            let read = |name: &str| match &dictionary[name] {
                ListEntry::Item(item) => integer(item),
                ListEntry::InnerList(list) => panic!("{list:?}"),
            };
            read("limit");
            Some((None, read("remaining"), read("reset")))
        }
        HeaderDraft::V8 => {
            let items = items(text(headers, "ratelimit")?);
            assert_eq!(items.len(), 1);
            let BareItem::String(name) = &items[0].bare_item else {
                panic!("{items:?}")
            };
            let numbers = (
                parameter(&items[0], "r").unwrap(),
                parameter(&items[0], "t").unwrap(),
            );
            Some((Some(name.as_str().to_owned()), numbers.0, numbers.1))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_independent_parser_reads_what_was_meant((draft, report) in reports()) {
        let mut headers = HeaderMap::new();
        report.write(&mut headers);
        let shape = &report.shape;
        let limited = report.quota().and_then(|quota| quota.limit);
        let policies = usize::from(limited.is_some()) + shape.plan.rates.len();
        match text(&headers, "ratelimit-policy") {
            None => prop_assert_eq!(policies, 0),
            Some(policy) => {
                let items = items(policy);
                prop_assert_eq!(items.len(), policies);
                for item in &items {
                    prop_assert!(parameter(item, "w").unwrap() > 0);
                    match draft {
                        HeaderDraft::V6 | HeaderDraft::V7 => {
                            integer(item);
                        }
                        HeaderDraft::V8 => {
                            parameter(item, "q").unwrap();
                            prop_assert!(item.bare_item.as_string().is_some());
                        }
                    }
                }
            }
        }
        let expected = match (report.rate(), report.quota()) {
            (Some(rate), _) => Some((shape.rate_name(rate.position).to_owned(), u64::from(rate.remaining))),
            (None, Some(quota)) => quota.remaining().map(|left| (quota.name.to_owned(), left.get())),
            (None, None) => None,
        };
        let read = read_state(draft, &headers);
        prop_assert_eq!(read.is_some(), expected.is_some());
        if let (Some((name, remaining, _)), Some((expected_name, expected))) = (read, expected) {
            prop_assert_eq!(remaining, expected);
            prop_assert!(name.is_none_or(|name| name == expected_name));
        }
        if let Some(quota) = report.quota() {
            let unlimited = || "unlimited".to_owned();
            let number = |units: Option<Units>| units.map_or_else(unlimited, |units| units.to_string());
            prop_assert_eq!(text(&headers, "x-ratelimit-limit").unwrap(), number(quota.limit));
            prop_assert_eq!(text(&headers, "x-ratelimit-used").unwrap(), quota.used.to_string());
            prop_assert_eq!(text(&headers, "x-ratelimit-remaining").unwrap(), number(quota.remaining()));
        }
    }

    #[test]
    fn retry_after_never_points_earlier_than_the_state((draft, report) in reports(), wait in any::<u64>()) {
        let wait = Duration::from_nanos(wait);
        let mut headers = HeaderMap::new();
        report.write_refused(Some(wait), b"", &mut headers);
        let reset = match draft {
            HeaderDraft::V6 => text(&headers, "ratelimit-reset").map(|text| text.parse().unwrap()),
            HeaderDraft::V7 => text(&headers, "ratelimit")
                .and_then(|text| text.split_once("reset="))
                .map(|(_, reset)| reset.parse().unwrap()),
            HeaderDraft::V8 => text(&headers, "ratelimit").and_then(|text| parameter(&items(text)[0], "t")),
        };
        prop_assert!(reset.is_none_or(|reset: u64| reset <= retry_seconds(wait)));
    }
}
