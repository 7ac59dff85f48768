//! Writing limit headers into a response: a string for each, everything formatted into one buffer, and what the meter does.
//! Nanoseconds by Criterion, and heap allocations counted once, in one run; compare the lines with each other, not with
//! other machines.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark is a program of its own"
)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hm_metering::meter::LimitReport;
use hm_metering::testing::{TestClock, TestKeys};
use hm_metering::{
    Admission, Admit, Call, HeaderDraft, HeaderStyle, MemoryStore, Meter, Operation, OperationName, PlanId,
    Plans, ResetFormat, StoredKeyVerifier, Timestamp,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::runtime::Runtime;

const PLANS: &str = r#"
    [pro]
    rates = [
        { name = "second", limit = 500, per_seconds = 1 },
        { name = "minute", limit = 6000, per_seconds = 60 },
    ]
    quotas = [{ meter = "requests", limit = 10000, period = "anchored_month" }]
"#;

const NAMES: [HeaderName; 6] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-used"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("ratelimit"),
];

/// A request that a meter with these headers let through.
async fn admitted(style: HeaderStyle) -> (Meter, Admission) {
    let store = MemoryStore::new();
    let clock = TestClock::at(Timestamp::from_micros(1_795_612_455_000_000));
    let keys = TestKeys::new(store.clone());
    let key = keys
        .issue(
            PlanId::from_static("pro"),
            Timestamp::from_micros(1_795_612_455_000_000),
        )
        .await;
    let meter = Meter::builder(StoredKeyVerifier::new(store.clone(), keys.peppers()))
        .plans(Plans::from_toml(PLANS).unwrap())
        .quota(store.clone())
        .usage(store)
        .clock(clock)
        .headers(style)
        .start()
        .await
        .unwrap();
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("x-api-key"),
        key.text().parse::<HeaderValue>().unwrap(),
    )]);
    let operation = Arc::new(Operation::new(OperationName::from_static("facts")));
    let admission = match meter.admit(&operation, Call::new(&Method::GET, &headers, "/facts")) {
        Admit::Ready(decision) => decision.unwrap(),
        Admit::Pending(decision) => decision.await.unwrap(),
    };
    (meter, admission)
}

/// The six values, as they would be formatted for one answer.
fn format(report: &LimitReport, mut value: impl FnMut(usize, std::fmt::Arguments<'_>)) {
    let quota = report.quota().unwrap();
    let (limit, left) = (quota.limit.unwrap(), quota.remaining().unwrap());
    value(0, format_args!("{limit}"));
    value(1, format_args!("{}", quota.used));
    value(2, format_args!("{left}"));
    value(
        3,
        format_args!("{}", quota.reset.to_datetime().format("%Y-%m-%d")),
    );
    let [second, minute] = &report.plan().rates[..] else {
        unreachable!("two rates")
    };
    value(
        4,
        format_args!(
            "\"{}\";q={limit};w={}, \"{}\";q={};w={}, \"{}\";q={};w={}",
            quota.name,
            quota.reset.since(quota.start).as_secs(),
            second.name,
            second.limit,
            second.per.as_secs(),
            minute.name,
            minute.limit,
            minute.per.as_secs()
        ),
    );
    let seconds = quota.reset.since(report.at()).as_secs();
    value(5, format_args!("\"{}\";r={left};t={seconds}", quota.name));
}

fn write_strings(report: &LimitReport, headers: &mut HeaderMap) {
    format(report, |i, value| {
        headers.insert(&NAMES[i], HeaderValue::try_from(value.to_string()).unwrap());
    });
}

fn write_one_buffer(report: &LimitReport, headers: &mut HeaderMap) {
    let mut buffer = BytesMut::with_capacity(192);
    let mut ends = [0; 6];
    format(report, |i, value| {
        buffer.write_fmt(value).unwrap();
        ends[i] = buffer.len();
    });
    let whole = buffer.freeze();
    let mut start = 0;
    for (name, end) in NAMES.into_iter().zip(ends) {
        headers.insert(
            name,
            HeaderValue::from_maybe_shared(whole.slice(start..end)).unwrap(),
        );
        start = end;
    }
}

/// Headers as a response has them before.
fn response() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers
}

fn headers(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let classic = HeaderStyle::NONE.with_classic(ResetFormat::EpochSeconds);
    let (meter, admission) = runtime.block_on(admitted(HeaderStyle::default()));
    let (other, epoch) = runtime.block_on(admitted(classic.with_draft(HeaderDraft::V7)));
    let (report, epoch_report) = (admission.report(), epoch.report());
    let mut group = criterion.benchmark_group("headers");
    macro_rules! line {
        ($name:literal, $write:expr) => {
            let write = $write;
            let mut map = response();
            let counted = allocation_counter::measure(|| write(&mut map));
            println!(
                "{}: {} allocations, {} bytes, the map's growth included",
                $name, counted.count_total, counted.bytes_total
            );
            group.bench_function($name, |bencher| {
                bencher.iter_batched(
                    response,
                    |mut map| {
                        write(&mut map);
                        map
                    },
                    BatchSize::SmallInput,
                );
            });
        };
    }
    line!("nothing", |_: &mut HeaderMap| ());
    line!("a string each", |map: &mut HeaderMap| write_strings(&report, map));
    line!("one buffer", |map: &mut HeaderMap| write_one_buffer(&report, map));
    line!("the meter's", |map: &mut HeaderMap| report.write(map));
    line!("the meter's, epoch and draft 7", |map: &mut HeaderMap| {
        epoch_report.write(map)
    });
    line!("the meter's, with a new report", |map: &mut HeaderMap| admission
        .report()
        .write(map));
    line!("a new report alone", |_: &mut HeaderMap| {
        std::hint::black_box(admission.report());
    });
    group.finish();
    drop((admission, epoch));
    runtime.block_on(meter.shutdown(Duration::from_secs(5)));
    runtime.block_on(other.shutdown(Duration::from_secs(5)));
}

criterion_group!(benches, headers);
criterion_main!(benches);
