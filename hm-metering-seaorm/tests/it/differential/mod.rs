//! Random histories of calls, done on memory and on every database: all give the same answers.
//!
//! `HM_TEST_SEED` sets the first history; what it was is printed. A history that is answered differently is made shorter
//! before it is shown.

mod step;
mod subject;

use std::cell::Cell;

use hm_metering_seaorm::testing::TestDatabase;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use uuid::Uuid;

use self::step::Step;
use self::subject::Subject;

/// How many histories there are, and how long the longest is.
const HISTORIES: u32 = 12;
const STEPS: usize = 40;

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no configuration to read it from"
)]
fn seed() -> u64 {
    match std::env::var("HM_TEST_SEED") {
        Ok(text) => text.parse().expect("HM_TEST_SEED is a number"),
        Err(_) => Uuid::new_v4().as_u64_pair().0,
    }
}

/// Does a history on each, and compares every answer with that of the first. Once something was pruned, sums are compared
/// between databases only: what they have summed up stays in their sums, while those in memory are of the events that are
/// left.
async fn compare(history: &[Step], subjects: &mut [Subject], world: u64) -> Result<(), TestCaseError> {
    for subject in &mut *subjects {
        subject.enter(world).await;
    }
    let mut was_pruned = false;
    for (number, step) in history.iter().enumerate() {
        was_pruned |= matches!(step, Step::Prune { .. });
        let mut expected = None;
        for subject in &mut *subjects {
            if was_pruned && step.asks_for_sums() && subject.is_in_memory() {
                continue;
            }
            let answer = subject.take(step).await;
            let expected = expected.get_or_insert_with(|| answer.clone());
            prop_assert_eq!(
                &*expected,
                &answer,
                "step {} on {}: {:?}",
                number,
                subject.name,
                step
            );
        }
    }
    Ok(())
}

#[test]
fn memory_and_all_databases_answer_random_histories_alike() {
    let seed = seed();
    eprintln!("HM_TEST_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let databases = runtime.block_on(TestDatabase::every()).unwrap();
    let mut subjects = vec![Subject::in_memory()];
    for database in &databases {
        subjects.push(runtime.block_on(Subject::on(database)));
    }
    let subjects = std::cell::RefCell::new(subjects);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: HISTORIES,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let worlds = Cell::new(0);
    let history = prop::collection::vec(step::any(), 1..=STEPS);
    let result = runner.run(&history, |history| {
        // Each history has accounts, keys and replicas of its own, so that none sees what another left.
        worlds.set(worlds.get() + 1);
        runtime.block_on(compare(&history, &mut subjects.borrow_mut(), worlds.get()))
    });
    for database in databases {
        runtime.block_on(database.close()).unwrap();
    }
    if let Err(failure) = result {
        panic!("HM_TEST_SEED={seed}: {failure}");
    }
}
