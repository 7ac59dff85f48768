//! How much memory an active key takes.
//!
//! `bench-memory [KEYS]` lets each of that many keys (a million), of as many accounts, make one request, and says by how much
//! the process grew: resident memory, and bytes that are allocated. Once with two rate limits, once with a quota as well,
//! each in a process of its own (`bench-memory KEYS LIMITS`). Callers and counters come from stores that keep nothing, so
//! that the engine's memory is what is seen.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "it prints what it finds, and can't go on without its set-up"
)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hm_bench::cost::CountingAllocator;
use hm_bench::fixture::{Limits, Nowhere, OPERATION, SlowClock, plans};
use hm_metering::keys::{Verdict, Verified};
use hm_metering::quota::{
    Balance, FencingToken, Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaWindow, Release, Settlement,
    WindowState,
};
use hm_metering::usage::{BatchId, Outcome};
use hm_metering::{
    AccountId, Admit, Call, KeyEnv, KeyId, KeyVerifier, Meter, Operation, OperationName, PresentedKey,
    Principal, QuotaStore, StoreResult, Timestamp, Units, UserId,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};
use tokio::runtime::Builder;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: &CountingAllocator = &INSTRUMENTED_SYSTEM;

/// After so many requests their events are recorded, so that they are not taken for memory of the keys.
const FLUSH_EVERY: u32 = 50_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let keys = arguments.first().map_or("1000000", String::as_str);
    let Some(limits) = arguments.get(1) else {
        println!("| limits | resident bytes per key | allocated bytes per key |");
        println!("| --- | --- | --- |");
        for limits in ["rates", "full"] {
            let program = std::env::current_exe().expect("a path of its own");
            let status = Command::new(program).args([keys, limits]).status();
            assert!(status.expect("a program that starts").success());
        }
        return;
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let keys = keys.parse().expect("a number of keys");
    runtime.block_on(match limits.as_str() {
        "rates" => fill(Limits::Rates, "2 rates", keys),
        _ => fill(Limits::Full, "2 rates and a quota", keys),
    });
}

async fn fill(limits: Limits, name: &str, keys: u32) {
    let meter = Meter::builder(Numbered(limits))
        .plans(plans())
        .quota(Generous)
        .usage(Nowhere)
        .clock(SlowClock::new())
        .callers(keys as usize)
        .start()
        .await
        .expect("a meter");
    let operation = Arc::new(Operation::new(OperationName::from_static(OPERATION)));
    let region = Region::new(ALLOCATOR);
    let before = resident();
    for key in 0..keys {
        let text = HeaderValue::try_from(key.to_string()).expect("digits");
        let headers = HeaderMap::from_iter([(http::header::HeaderName::from_static("x-api-key"), text)]);
        let call = Call::new(&Method::GET, &headers, "/");
        let mut admission = match meter.admit(&operation, call) {
            Admit::Ready(decision) => decision,
            Admit::Pending(decision) => decision.await,
        }
        .expect("every key is let through");
        admission.handler_called();
        admission.answered(StatusCode::OK);
        admission.finish(Outcome::Completed);
        if key % FLUSH_EVERY == 0 {
            assert!(meter.flush(Duration::from_secs(60)).await);
        }
    }
    assert!(meter.flush(Duration::from_secs(60)).await);
    let grown = resident().saturating_sub(before) as f64 / f64::from(keys);
    let change = region.change();
    let allocated =
        (change.bytes_allocated.saturating_sub(change.bytes_deallocated)) as f64 / f64::from(keys);
    println!("| {name} | {grown:.0} | {allocated:.0} |");
    let _ = meter.shutdown(Duration::from_secs(60)).await;
}

/// What of this process is in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kilobytes.expect("Linux says how much is resident") * 1_024
}

/// Numbers are keys, each of an account of its own. Keeps nothing.
struct Numbered(Limits);

#[async_trait]
impl KeyVerifier for Numbered {
    fn is_well_formed(&self, presented: &str) -> bool {
        presented.parse::<u32>().is_ok()
    }

    fn claims(&self, bearer: &str) -> bool {
        self.is_well_formed(bearer)
    }

    async fn verify(&self, presented: &PresentedKey, _: Timestamp) -> StoreResult<Verdict> {
        let number = presented.expose().parse().expect("a number, being well formed");
        let id = Uuid::from_u128(number);
        let began = Timestamp::from_micros(0);
        Ok(Verdict::Valid(Verified {
            principal: Principal::new(AccountId::from_uuid(id), self.0.plan(), began)
                .with_key(KeyId::from_uuid(id), KeyEnv::Live)
                .with_user(UserId::from_uuid(id)),
            not_before: None,
            expires_at: None,
            plan_until: None,
            version: 0,
        }))
    }
}

/// Grants whatever is asked for and keeps nothing.
struct Generous;

#[async_trait]
impl QuotaStore for Generous {
    async fn lease(&self, ask: &LeaseAsk) -> StoreResult<LeaseGrant> {
        Ok(LeaseGrant {
            granted: ask.want,
            token: FencingToken(1),
            balance: Balance {
                used: Units::ZERO,
                leased: ask.want,
            },
            oldest: None,
        })
    }

    async fn release(&self, _: &Release) -> StoreResult<Balance> {
        Ok(Balance::default())
    }

    async fn settle(&self, _: Holder, _: BatchId, _: &[Settlement], _: Timestamp) -> StoreResult<()> {
        Ok(())
    }

    async fn balances(&self, keys: &[QuotaKey]) -> StoreResult<Vec<Balance>> {
        Ok(vec![Balance::default(); keys.len()])
    }

    async fn windows(&self, windows: &[QuotaWindow]) -> StoreResult<Vec<WindowState>> {
        Ok(vec![WindowState::default(); windows.len()])
    }

    async fn close_earlier(&self, _: Holder, _: Timestamp) -> StoreResult<Units> {
        Ok(Units::ZERO)
    }
}
