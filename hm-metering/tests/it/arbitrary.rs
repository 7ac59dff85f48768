//! Bytes that nobody meant well: whatever comes in, nothing panics and nobody gets in; whatever goes out can be read.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hm_metering::key::KeyFormat;
use hm_metering::period::PeriodRule;
use hm_metering::plan::{Plan, Quota, QuotaMode, RateLimit};
use hm_metering::testing::{TestClock, TestKeys};
use hm_metering::usage::Outcome;
use hm_metering::{
    Admit, Call, KeyEnv, MemoryStore, Meter, MeterName, Operation, OperationName, PlanId, Plans, RefusalKind,
    Timestamp, Units,
};
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use proptest::prelude::*;
use tokio::runtime::Runtime;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A meter and a key that it accepts.
struct Stage {
    runtime: Runtime,
    meter: Meter,
    key: String,
    operation: Arc<Operation>,
}

impl Stage {
    fn new(plan: Plan, now: Timestamp) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (meter, key) = runtime.block_on(async {
            let (store, clock) = (MemoryStore::new(), TestClock::at(now));
            let keys = TestKeys::new(store.clone());
            let key = keys.issue(plan.id.clone(), now).await;
            let meter = Meter::builder(keys.verifier())
                .plans(Plans::new([plan]).unwrap())
                .quota(store.clone())
                .usage(store)
                .clock(clock);
            (meter.start().await.unwrap(), key.issued.expose().to_owned())
        });
        Self {
            runtime,
            meter,
            key,
            operation: Arc::new(Operation::new(OperationName::from_static("work"))),
        }
    }

    /// The state of the limits after a request with these headers, or why it was refused, as headers.
    fn ask(&self, headers: &HeaderMap, endpoint: &str) -> Result<HeaderMap, (RefusalKind, HeaderMap)> {
        let mut written = HeaderMap::new();
        self.runtime.block_on(async {
            let call = Call::new(&Method::GET, headers, endpoint);
            let decision = match self.meter.admit(&self.operation, call) {
                Admit::Ready(decision) => decision,
                Admit::Pending(future) => future.await,
            };
            match decision {
                Ok(mut admission) => {
                    admission.handler_called();
                    admission.answered(StatusCode::OK);
                    admission.report().write(&mut written);
                    admission.finish(Outcome::Completed);
                    Ok(written)
                }
                Err(rejection) => {
                    let kind = rejection.refusal().kind();
                    rejection.write_headers(&rejection.body(), &mut written);
                    Err((kind, written))
                }
            }
        })
    }
}

fn plan() -> Plan {
    Plan {
        id: PlanId::from_static("free"),
        rates: Vec::new(),
        concurrency: Vec::new(),
        quotas: vec![Quota {
            meter: MeterName::REQUESTS,
            limit: None,
            period: PeriodRule::Day,
            mode: QuotaMode::Strict,
        }],
    }
}

static STAGE: LazyLock<Stage> =
    LazyLock::new(|| Stage::new(plan(), Timestamp::from_micros(1_795_612_455_000_000)));

/// Values that look like credentials more often than chance has it.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"Bearer ".to_vec()),
        Just(b"bearer".to_vec()),
        Just(b"Basic ".to_vec()),
        Just(b" ".to_vec()),
        Just(b",".to_vec()),
        Just(b"hm_live_".to_vec()),
        Just(b"hm_test_".to_vec()),
        "[0-9A-Za-z]{39}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn headers(values: &[(HeaderName, Vec<u8>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in values {
        // What is no header value never reaches a server's handler.
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    headers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn nobody_gets_in_by_any_bytes(
        values in prop::collection::vec(
            (prop::sample::select(vec![X_API_KEY, AUTHORIZATION, X_REQUEST_ID]), value()),
            0..5,
        ),
        endpoint in any::<String>(),
    ) {
        let answer = STAGE.ask(&headers(&values), &endpoint);
        prop_assert!(matches!(
            answer,
            Err((RefusalKind::MissingKey | RefusalKind::UnreadableKey | RefusalKind::InvalidKey(_), _))
        ));
    }

    #[test]
    fn the_right_key_gets_in_beside_whatever_says_nothing_of_keys(
        by_bearer in any::<bool>(),
        spaces in 1_usize..4,
        other in value(),
        endpoint in any::<String>(),
    ) {
        let key = &STAGE.key;
        let (name, text) = if by_bearer {
            (AUTHORIZATION, format!("bEaReR{}{key}", " ".repeat(spaces)))
        } else {
            (X_API_KEY, key.clone())
        };
        let headers = headers(&[(X_REQUEST_ID, other), (name, text.into_bytes())]);
        prop_assert!(STAGE.ask(&headers, &endpoint).is_ok());
    }

    #[test]
    fn a_text_is_a_key_exactly_if_it_was_made_as_one(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0_usize..47, bit in 0_u8..7) {
        let format = KeyFormat::default();
        prop_assert!(format.parse(&String::from_utf8_lossy(&bytes)).is_err());
        let mut key = format.generate(KeyEnv::Test).unwrap().expose().to_owned().into_bytes();
        prop_assert!(format.parse(std::str::from_utf8(&key).unwrap()).is_ok());
        key[at] ^= 1 << bit;
        prop_assert!(format.parse(std::str::from_utf8(&key).unwrap()).is_err());
    }
}

fn limit() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        Just(None),
        Just(Some(0)),
        Just(Some(u64::MAX)),
        any::<u64>().prop_map(Some),
        (0_u64..3).prop_map(Some),
    ]
}

fn rate() -> impl Strategy<Value = RateLimit> {
    let number = || prop_oneof![1_u32..4, 1_u32..=u32::MAX];
    let per = prop_oneof![1_u64..5, 1_u64..=u64::MAX].prop_map(Duration::from_nanos);
    ("[a-z0-9_-]{1,64}", number(), per, number()).prop_map(|(name, limit, per, burst)| RateLimit {
        name,
        limit,
        per,
        burst,
    })
}

/// The whole number of this parameter in each item of a list.
fn numbers(value: &str, parameter: &str) -> Vec<u64> {
    value
        .split(", ")
        .flat_map(|item| item.split(';').skip(1))
        .filter_map(|part| part.split_once('='))
        .filter(|(name, _)| *name == parameter)
        .map(|(_, number)| number.parse().unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_the_limits_and_the_time_the_headers_can_be_read(
        limit in limit(),
        rates in prop::collection::vec(rate(), 0..4),
        period in prop::sample::select(vec![
            PeriodRule::AnchoredMonth,
            PeriodRule::CalendarMonth,
            PeriodRule::Day,
            PeriodRule::Hour,
        ]),
        micros in prop_oneof![any::<i64>(), 0_i64..4_000_000_000_000_000],
    ) {
        let quota = Quota { meter: MeterName::REQUESTS, limit: limit.map(Units::new), period, mode: QuotaMode::Strict };
        let names: Vec<_> = rates.iter().map(|rate| rate.name.clone()).collect();
        let plan = Plan { rates, quotas: vec![quota], ..plan() };
        let stage = Stage::new(plan, Timestamp::from_micros(micros));
        let key = headers(&[(X_API_KEY, stage.key.clone().into_bytes())]);
        for _ in 0..3 {
            let (headers, is_refused) = match stage.ask(&key, "/") {
                Ok(headers) => (headers, false),
                Err((_, headers)) => (headers, true),
            };
            for (name, value) in &headers {
                let text = value.to_str().unwrap();
                prop_assert!(!text.is_empty() && text.is_ascii(), "{}: {}", name, text);
            }
            let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            let policy = text("ratelimit-policy").unwrap_or_default();
            for name in &names {
                prop_assert!(policy.contains(&format!("\"{name}\";q=")), "{}", policy);
            }
            prop_assert!(numbers(policy, "w").iter().all(|seconds| *seconds >= 1), "{}", policy);
            let state = text("ratelimit").unwrap_or_default();
            prop_assert_eq!(numbers(state, "r").len(), numbers(state, "t").len());
            if let (Some(limit), Some(said)) = (limit, text("x-ratelimit-limit")) {
                let limit = Units::new(limit).get();
                prop_assert_eq!(said.parse::<u64>().unwrap(), limit);
                let number = |name: &str| text(name).unwrap().parse::<u64>().unwrap();
                prop_assert!(number("x-ratelimit-remaining") <= limit);
                prop_assert!(is_refused || number("x-ratelimit-used") >= 1);
            }
        }
    }
}
