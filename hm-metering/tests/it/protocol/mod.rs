//! The protocol of leases as a state machine: replicas that are killed, clocks that are set, messages that get lost,
//! come late and come twice. Whatever happens, no more is admitted than the limit, and in the end nothing is stranded.
//!
//! An episode is the same for the same seed, except for how finished requests are cut into batches: that is up to Tokio,
//! and changes nothing that is counted here.

mod link;
mod random;
#[expect(clippy::future_not_send, reason = "a world stays on its thread")]
mod world;

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use link::Fault;
use world::World;

/// How many things happen in all.
const OPERATIONS: u64 = 1_000_000;
/// How many happen in one episode, before it is brought to its end.
const STEPS: u64 = 2_000;

/// Episodes that failed once.
const FAILED_ONCE: [u64; 0] = [];

/// Says which episode failed, as its assertions can't.
struct Episode {
    seed: u64,
    step: u64,
}

impl Drop for Episode {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "the episode with seed {} failed after step {}",
                self.seed, self.step
            );
        }
    }
}

/// Plays an episode and answers how many operations it had, and what was charged in the end.
fn play(seed: u64, fault: Option<Fault>) -> (u64, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut episode = Episode { seed, step: 0 };
    runtime.block_on(async {
        let mut world = World::new(seed, fault).await;
        while episode.step < STEPS {
            episode.step += 1;
            world.step().await;
        }
        world.end().await;
        (world.operations, world.charged())
    })
}

#[test]
fn whatever_happens_no_more_than_the_limit_is_admitted_and_nothing_is_stranded() {
    let (seeds, operations) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = thread::available_parallelism().map_or(2, usize::from).min(8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while operations.load(Ordering::Relaxed) < OPERATIONS {
                    let (played, _) = play(seeds.fetch_add(1, Ordering::Relaxed), None);
                    operations.fetch_add(played, Ordering::Relaxed);
                }
            });
        }
    });
    assert!(operations.into_inner() >= OPERATIONS);
}

#[test]
fn an_episode_is_the_same_for_the_same_seed() {
    let episodes = [(); 2].map(|()| [3, 5, 8].map(|seed| play(seed, None)));
    assert_eq!(episodes[0], episodes[1]);
    assert_ne!(episodes[0][0], episodes[0][1]);
}

#[test]
fn what_went_wrong_once_does_not_again() {
    for seed in FAILED_ONCE {
        play(seed, None);
    }
}

#[test]
fn a_store_that_breaks_its_promises_is_noticed() {
    for fault in Fault::ALL {
        let is_noticed = (0..20).any(|seed| panic::catch_unwind(|| play(seed, Some(fault))).is_err());
        assert!(is_noticed, "{fault:?}");
    }
}
