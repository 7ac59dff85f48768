//! What the gate in CI measures: requests to be counted by an instrument, and allocations.
//!
//! `bench-gate serve SERVICE REQUESTS` serves that many warm requests and ends; under callgrind, two runs of different length
//! say how many instructions one request takes. Services are `bare`, `governor`, `full`, `journal`, which is `full` with a
//! journal in a file, and `recorded`, which is `full` with its events on their way to the sink. `bench-gate allocations` counts by itself.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "it prints what it finds, and can't go on without its set-up"
)]

use std::fmt;
use std::mem;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use hm_bench::cost::CountingAllocator;
use hm_bench::fixture::{Accounts, Limits, OPERATION, SlowClock};
use hm_bench::service::{Bare, drive, governor_layer, request, serve};
use hm_metering::{Admit, Call, Meter, Operation, OperationName};
use http::header::HeaderMap;
use http::{Method, Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service};

#[global_allocator]
static ALLOCATOR: &CountingAllocator = &INSTRUMENTED_SYSTEM;

/// After so many requests of one account its lease is larger than what is measured, so that nothing is renewed meanwhile.
const WARM_UP: usize = 32_768;
const NEVER: Duration = Duration::from_secs(86_400);
/// How often the tasks in the background get a turn before measuring begins.
const TURN_EVERY: usize = 64;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    match words[..] {
        ["serve", service, requests] => match requests.parse() {
            Ok(requests) if serve_many(&runtime, service, requests) => {}
            _ => return usage(),
        },
        ["allocations"] => count_allocations(&runtime),
        _ => return usage(),
    }
    // Taking things down is not part of a request, and costs more the more requests there were.
    mem::forget(runtime);
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    println!("bench-gate serve bare|governor|full|journal|recorded REQUESTS");
    println!("bench-gate allocations");
    ExitCode::FAILURE
}

/// False when there is no such service.
fn serve_many(runtime: &Runtime, service: &str, requests: usize) -> bool {
    let directory = TempDir::new().expect("a directory");
    let journal = (service == "journal").then(|| directory.path());
    let (meter, key) = runtime.block_on(full_meter(journal));
    match service {
        "bare" => warm(runtime, Bare, &key).serve(requests),
        "governor" => warm(runtime, governor_layer().layer(Bare), &key).serve(requests),
        "full" | "journal" | "recorded" => {
            let mut full = warm(runtime, meter.layer(OPERATION).layer(Bare), &key);
            // What is left of warming up must not be taken for work of the requests that follow.
            record(runtime, &meter);
            full.serve(requests);
            if service == "recorded" {
                record(runtime, &meter);
            }
        }
        _ => return false,
    }
    mem::forget(meter);
    true
}

fn record(runtime: &Runtime, meter: &Meter) {
    assert!(runtime.block_on(meter.flush(Duration::from_secs(60))));
}

fn count_allocations(runtime: &Runtime) {
    const REQUESTS: usize = 4_096;
    let (meter, key) = runtime.block_on(full_meter(None));
    let per_request = |count: usize| count as f64 / REQUESTS as f64;

    let bare = per_request(warm(runtime, Bare, &key).allocations(REQUESTS));
    let governor = governor_layer().layer(Bare);
    let governor = per_request(warm(runtime, governor, &key).allocations(REQUESTS)) - bare;
    let full = meter.layer(OPERATION).layer(Bare);
    let full = per_request(warm(runtime, full, &key).allocations(REQUESTS)) - bare;
    let headers = per_request(header_allocations(&meter, &key, REQUESTS));
    let directory = TempDir::new().expect("a directory");
    let (journalling, key) = runtime.block_on(full_meter(Some(directory.path())));
    let journal = journalling.layer(OPERATION).layer(Bare);
    let journal = per_request(warm(runtime, journal, &key).allocations(REQUESTS)) - bare;

    println!("bare {bare:.3}");
    println!("governor {governor:.3}");
    println!("full {full:.3}");
    println!("journal {journal:.3}");
    println!("headers {headers:.3}");
    println!("beyond_headers {:.3}", full.max(journal) - headers);
    mem::forget((meter, journalling));
}

async fn full_meter(journal: Option<&Path>) -> (Meter, String) {
    let accounts = Accounts::new();
    let key = accounts.add(Limits::Full).await.expose().to_owned();
    // What happens in the background happens when it is asked for, the same in every run.
    let mut meter = accounts
        .meter()
        .clock(SlowClock::new())
        .feed_interval(NEVER)
        .flush_interval(NEVER);
    if let Some(directory) = journal {
        meter = meter.journal(directory);
    }
    (meter.start().await.expect("a meter"), key)
}

/// A service that has served enough to be warm.
struct Warm<'a, S> {
    runtime: &'a Runtime,
    service: S,
    key: &'a str,
}

fn warm<'a, S, B>(runtime: &'a Runtime, service: S, key: &'a str) -> Warm<'a, S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: http_body::Body,
    B::Error: fmt::Debug,
{
    let mut warm = Warm {
        runtime,
        service,
        key,
    };
    let inside = runtime.enter();
    for number in 0..WARM_UP {
        drive(runtime, serve(&mut warm.service, request(key, 1)));
        if number % TURN_EVERY == 0 {
            runtime.block_on(async {
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    drop(inside);
    warm
}

impl<S, B> Warm<'_, S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: http_body::Body,
    B::Error: fmt::Debug,
{
    fn serve(&mut self, requests: usize) {
        let _inside = self.runtime.enter();
        for _ in 0..requests {
            let ((), at_once) = drive(self.runtime, serve(&mut self.service, request(self.key, 1)));
            assert!(at_once, "a request had to wait, so it was not warm");
        }
    }

    fn allocations(&mut self, requests: usize) -> usize {
        let region = Region::new(ALLOCATOR);
        self.serve(requests);
        taken(&region)
    }
}

/// How many allocations it takes to write a response's limit headers and its request id.
fn header_allocations(meter: &Meter, key: &str, requests: usize) -> usize {
    let operation = Arc::new(Operation::new(OperationName::from_static(OPERATION)));
    let headers = request(key, 1).headers().clone();
    (0..requests)
        .map(|_| {
            let call = Call::new(&Method::POST, &headers, "/api/v1/data");
            let Admit::Ready(Ok(admission)) = meter.admit(&operation, call) else {
                panic!("a warm request is let through at once");
            };
            let mut answer = HeaderMap::new();
            let region = Region::new(ALLOCATOR);
            admission.write_headers(&mut answer);
            taken(&region)
        })
        .sum()
}

fn taken(region: &Region<'_, std::alloc::System>) -> usize {
    let change = region.change();
    change.allocations + change.reallocations
}
