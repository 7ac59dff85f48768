//! What a request costs in process, beside what others take for a part of it.
//!
//! `cargo bench -p hm-bench --bench request -- [ROUNDS]` prints the tables of `docs/benchmarks.md`, once for each number of
//! keys. Compare the lines of one run with each other, not with another machine's.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints what it finds, and can't go on without its set-up"
)]

mod governors;
mod ours;
mod salvo;
mod tables;
mod tollgate;
mod whole;

use hm_bench::fixture::{Accounts, Limits, OPERATION};
use hm_bench::rounds::{Contestant, compare};
use hm_bench::service::{Bare, governor_layer};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand_distr::Zipf;
use tokio::runtime::Runtime;
use tower::Layer;

use ours::Stages;
use whole::Whole;

const KEYS: [u32; 3] = [1, 1_000, 100_000];
const ROUNDS: usize = 9;
/// Requests in a round, at least; with many keys there are more.
const REQUESTS: usize = 50_000;

fn main() {
    let rounds = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(ROUNDS);
    let runtime = Runtime::new().expect("a runtime");
    for keys in KEYS {
        let requests = REQUESTS.max(2 * keys as usize);
        println!("\n## {keys} keys, {rounds} rounds of {requests} requests\n");
        let sequence = zipf(keys, requests * rounds);
        measure(&runtime, keys, &sequence, rounds);
    }
}

/// Which keys the requests have: few are used often, most are used seldom. The same in every run.
fn zipf(keys: u32, requests: usize) -> Vec<u32> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut key_of_rank: Vec<u32> = (0..keys).collect();
    key_of_rank.shuffle(&mut random);
    let ranks = Zipf::new(f64::from(keys), 1.0).expect("a sound distribution");
    (0..requests)
        .map(|_| {
            let rank: f64 = ranks.sample(&mut random);
            key_of_rank[(rank as usize).clamp(1, key_of_rank.len()) - 1]
        })
        .collect()
}

fn measure(runtime: &Runtime, keys: u32, sequence: &[u32], rounds: usize) {
    let metered = |limits| {
        runtime.block_on(async {
            let accounts = Accounts::new();
            let mut texts = Vec::new();
            for _ in 0..keys {
                texts.push(accounts.add(limits).await.expose().to_owned());
            }
            (accounts.meter().start().await.expect("a meter"), accounts, texts)
        })
    };
    let (without, _, texts_without) = metered(Limits::None);
    let (with_rates, _, texts_with_rates) = metered(Limits::Rates);
    let (full, accounts, texts) = metered(Limits::Full);

    let mut contestants: Vec<Box<dyn Contestant>> = vec![
        Box::new(Whole::new("bare", runtime, &texts, Bare)),
        Box::new(Whole::new(
            "tower_governor",
            runtime,
            &texts,
            governor_layer().layer(Bare),
        )),
        Box::new(Whole::new("full layer", runtime, &texts, full.layer(OPERATION).layer(Bare)).resting(&full)),
        Box::new(governors::Alone::new()),
        Box::new(salvo::InSalvo::bare(runtime, &texts)),
        Box::new(salvo::InSalvo::limited(runtime, &texts)),
        Box::new(tollgate::Tollgate::new(keys)),
        Box::new(tollgate::Tollgate::with_sessions(keys)),
        Box::new(ours::Shape::new(accounts.verifier(), &texts)),
        Box::new(Stages::new("no limits", runtime, &without, &texts_without)),
        Box::new(Stages::new("2 rates", runtime, &with_rates, &texts_with_rates)),
        Box::new(Stages::new("2 rates, quota", runtime, &full, &texts)),
    ];
    let all: Vec<u32> = (0..keys).collect();
    let measured = compare(&mut contestants, &all, sequence, rounds);
    tables::added(&measured);
    tables::verify_and_admit(&measured);
    tables::stages(&measured);
    drop(contestants);
    for meter in [without, with_rates, full] {
        let _ = runtime.block_on(meter.shutdown(std::time::Duration::from_secs(60)));
    }
}
