//! The journal: what a process that dies leaves behind is in the ledger once, and never twice.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hm_metering::testing::StoreCall;
use hm_metering::usage::{Batch, Durability, Event, Journal, JournalError, Recorded, WhenFull};
use hm_metering::{
    AccountId, ConfigError, Meter, ReplicaId, StoreError, StoreErrorKind, StoreResult, Units, UsageSink,
};
use http_body_util::BodyExt;
use tempfile::TempDir;
use tower::{Layer, ServiceExt};
use uuid::Uuid;

use crate::stage::{FIVE, Stage, events_of, facts, handler};

const LONG: Duration = Duration::from_secs(3_600);

fn plan(limit: u32) -> String {
    FIVE.replace("limit = 5,", &format!("limit = {limit},"))
        .replace("limit = 1000, per_seconds", "limit = 1000000, per_seconds")
}

/// A stage whose meter has a journal in `directory` and a sink that takes nothing yet.
async fn stage(directory: &Path, limit: u32) -> Stage {
    let journal = small(directory);
    let stage = Stage::with(&plan(limit), Vec::new(), |builder| {
        builder.journal(journal).flush_interval(LONG)
    })
    .await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    stage
}

/// Files of 64 KiB, 1 MiB of them.
fn small(directory: &Path) -> Journal {
    Journal::new(directory)
        .segment_bytes(65_536)
        .bytes_max(1_048_576)
        .bytes_ready(1_048_576)
}

async fn restart(stage: &Stage, directory: &Path, limit: u32) -> Meter {
    stage.flaky.recover();
    let builder = stage.builder(&plan(limit)).journal(small(directory));
    builder.flush_interval(LONG).start().await.unwrap()
}

async fn send(meter: &Meter, stage: &Stage) -> u16 {
    let service = meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

/// Sends so many requests, all of which are served.
async fn serve(meter: &Meter, stage: &Stage, requests: usize) {
    for number in 0..requests {
        assert_eq!(send(meter, stage).await, 200, "request {number}");
    }
}

/// A stage with a journal in a folder of its own, that has served so many requests and recorded none.
async fn served(limit: u32, requests: usize) -> (TempDir, Stage) {
    let directory = tempfile::tempdir().unwrap();
    let stage = stage(directory.path(), limit).await;
    serve(&stage.meter, &stage, requests).await;
    (directory, stage)
}

/// The journal in `directory`, read by a run on stores where nothing of it was ever recorded: the run, whether it says that
/// everything is there, and its ledger.
async fn read_elsewhere(directory: &Path, account: AccountId) -> (Meter, bool, Vec<Event>) {
    let other = Stage::new(&plan(1_000)).await;
    let builder = other.builder(&plan(1_000)).journal(small(directory));
    let next = builder.start().await.unwrap();
    let all_there = next.flush(Duration::from_secs(5)).await;
    let events = events_of(&other.store, account).await;
    (next, all_there, events)
}

/// The journal as `kill -9` leaves it at this moment: nothing of the process gets a chance to tidy up.
pub fn killed(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "hmj1"))
        .collect();
    paths.sort();
    paths
}

async fn ledger(stage: &Stage, meter: &Meter) -> Vec<Event> {
    assert!(meter.flush(Duration::from_secs(5)).await);
    stage.events_in_store().await
}

#[tokio::test]
async fn what_a_killed_run_finished_is_recorded_by_the_next() {
    let (directory, stage) = served(100, 30).await;
    let left = killed(directory.path());
    assert_eq!(stage.events_in_store().await.len(), 0);
    let next = restart(&stage, left.path(), 100).await;
    let events = ledger(&stage, &next).await;
    assert_eq!(events.len(), 30);
    assert!(
        events
            .iter()
            .all(|event| event.endpoint == "/facts" && event.status == 200)
    );
    assert_eq!(stage.balance().await.used, Units::new(30));
}

#[tokio::test]
async fn a_quota_is_usable_to_the_last_unit_after_a_kill() {
    let (directory, stage) = served(100, 30).await;
    assert!(
        stage.balance().await.leased > Units::new(30),
        "more was leased than used"
    );
    let next = restart(&stage, killed(directory.path()).path(), 100).await;
    ledger(&stage, &next).await;
    assert_eq!(
        stage.balance().await.leased,
        Units::ZERO,
        "the dead run's lease is closed"
    );
    let mut admitted = 30;
    while send(&next, &stage).await == 200 {
        admitted += 1;
    }
    assert_eq!(admitted, 100);
}

#[tokio::test]
async fn a_batch_whose_outcome_nobody_knew_counts_once() {
    let (directory, stage) = served(100, 7).await;
    // The store has it, and the process dies before it hears so.
    stage.flaky.recover();
    stage.flaky.lose_next(1_000);
    assert!(!stage.meter.flush(Duration::from_millis(200)).await);
    assert_eq!(stage.events_in_store().await.len(), 7);
    stage.flaky.recover();
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    serve(&stage.meter, &stage, 5).await;
    let left = killed(directory.path());
    let next = restart(&stage, left.path(), 100).await;
    assert_eq!(ledger(&stage, &next).await.len(), 12);
    assert_eq!(next.events_lost(), 0);
    assert_eq!(stage.balance().await.used, Units::new(12));
}

#[tokio::test]
async fn a_run_that_ends_with_its_sink_down_says_so_and_the_next_one_sends() {
    let (directory, stage) = served(100, 9).await;
    let report = stage.meter.shutdown(Duration::from_secs(1)).await;
    assert!(!report.recorded);
    assert_eq!(
        send(&stage.meter, &stage).await,
        503,
        "a meter that is shut down serves nothing"
    );
    let left = killed(directory.path());
    let next = restart(&stage, left.path(), 100).await;
    assert_eq!(ledger(&stage, &next).await.len(), 9);
    assert_eq!(
        stage.balance().await,
        hm_metering::quota::Balance {
            used: Units::new(9),
            leased: Units::ZERO
        }
    );
}

#[tokio::test]
async fn a_directory_belongs_to_one_meter_and_one_replica() {
    let directory = tempfile::tempdir().unwrap();
    let stage = stage(directory.path(), 5).await;
    let again = stage.builder(FIVE).journal(small(directory.path())).start().await;
    assert!(matches!(
        again.unwrap_err(),
        ConfigError::Journal(JournalError::InUse(path)) if path == directory.path()
    ));
    let left = killed(directory.path());
    let other = ReplicaId::from_uuid(Uuid::from_u128(7));
    let builder = stage.builder(FIVE).replica(other).journal(small(left.path()));
    assert!(matches!(
        builder.start().await.unwrap_err(),
        ConfigError::Journal(JournalError::OtherReplica(..))
    ));
    stage.flaky.recover();
    send(&stage.meter, &stage).await;
    let replica = ledger(&stage, &stage.meter).await[0].replica;
    let same = stage.builder(FIVE).replica(replica).journal(small(left.path()));
    assert!(same.start().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_full_journal_refuses_until_its_sink_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let stage = stage(directory.path(), 1_000_000).await;
    let mut served = 0;
    let refused = loop {
        match send(&stage.meter, &stage).await {
            200 => served += 1,
            status => break status,
        }
        assert!(served < 100_000, "1 MiB can't hold so many");
    };
    assert_eq!(refused, 503);
    assert!(served > 1_000, "only {served} events found a place in 1 MiB");
    let bytes: u64 = segments(directory.path())
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(bytes <= 1_048_576, "{bytes} bytes of disk");
    stage.flaky.recover();
    assert_eq!(ledger(&stage, &stage.meter).await.len(), served);
    // The files of what is recorded make way in the background. This clock moves when nothing is left to do there.
    tokio::time::sleep(Duration::from_millis(1)).await;
    serve(&stage.meter, &stage, 1).await;
}

#[tokio::test]
async fn a_journal_that_sheds_serves_on_and_counts_what_it_loses() {
    let directory = tempfile::tempdir().unwrap();
    let journal = small(directory.path())
        .bytes_max(131_072)
        .when_full(WhenFull::Shed);
    let stage = Stage::with(&plan(1_000_000), Vec::new(), |builder| {
        builder.journal(journal).flush_interval(LONG)
    })
    .await;
    stage
        .flaky
        .fail_every(StoreCall::Record, StoreErrorKind::Unavailable);
    serve(&stage.meter, &stage, 2_000).await;
    let lost = stage.meter.events_lost();
    assert!(lost > 0);
    stage.flaky.recover();
    assert!(stage.meter.flush(Duration::from_secs(5)).await);
    assert_eq!(stage.events_in_store().await.len() as u64 + lost, 2_000);
}

#[tokio::test]
async fn a_damaged_journal_gives_what_can_be_read_and_counts_the_rest() {
    let (directory, stage) = served(1_000, 40).await;
    for (at, lost_at_most) in [(200, 1), (1_000, 1), (3, 0), (40, 0), (60_000, 1)] {
        let left = killed(directory.path());
        let path = &segments(left.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[at] ^= 0x10;
        fs::write(path, bytes).unwrap();
        let (next, all_there, events) = read_elsewhere(left.path(), stage.account).await;
        let lost = next.events_lost();
        assert_eq!(events.len() as u64 + lost, 40, "byte {at}");
        assert!(lost <= lost_at_most, "byte {at}: {lost} lost");
        assert_eq!(all_there, lost == 0);
    }
}

#[tokio::test]
async fn a_journal_cut_short_at_any_place_gives_what_is_before() {
    let (directory, stage) = served(1_000, 20).await;
    let mut before = 0;
    for length in (0..8_000).step_by(271) {
        let left = killed(directory.path());
        let paths = segments(left.path());
        let file = fs::OpenOptions::new().write(true).open(&paths[0]).unwrap();
        file.set_len(length).unwrap();
        let there = read_elsewhere(left.path(), stage.account).await.2.len();
        assert!(
            there >= before,
            "{length} bytes hold {there} events, fewer bytes held {before}"
        );
        before = there;
    }
    assert_eq!(before, 20);
}

/// A sink that keeps events, and can be told to fail.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<Mutex<Vec<Event>>>,
    is_down: Arc<Mutex<bool>>,
}

impl Listener {
    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    fn set_down(&self, is_down: bool) {
        *self.is_down.lock().unwrap() = is_down;
    }
}

#[async_trait::async_trait]
impl UsageSink for Listener {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        if *self.is_down.lock().unwrap() {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "listen"));
        }
        assert!(batch.settlements.is_empty(), "only the ledger settles");
        self.heard.lock().unwrap().extend(batch.events.iter().cloned());
        Ok(Recorded::New)
    }
}

#[tokio::test(start_paused = true)]
async fn sinks_follow_at_their_own_pace() {
    let directory = tempfile::tempdir().unwrap();
    let (fast, slow) = (Listener::default(), Listener::default());
    slow.set_down(true);
    let (also_fast, also_slow, journal) = (fast.clone(), slow.clone(), small(directory.path()));
    let stage = Stage::with(&plan(1_000), Vec::new(), |builder| {
        builder
            .journal(journal)
            .also("fast", also_fast)
            .also("slow", also_slow)
    })
    .await;
    serve(&stage.meter, &stage, 25).await;
    assert_eq!(
        ledger(&stage, &stage.meter).await.len(),
        25,
        "the ledger waits for nobody"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((fast.heard(), slow.heard()), (25, 0));
    slow.set_down(false);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((fast.heard(), slow.heard()), (25, 25));
    let taken = stage
        .builder(FIVE)
        .also("ledger", Listener::default())
        .start()
        .await;
    assert!(matches!(taken.unwrap_err(), ConfigError::SinkName(name) if name == "ledger"));
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_down_for_long_misses_events_and_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let slow = Listener::default();
    slow.set_down(true);
    let (also_slow, journal) = (slow.clone(), small(directory.path()));
    let stage = Stage::with(&plan(1_000_000), Vec::new(), |builder| {
        builder.journal(journal).also("slow", also_slow)
    })
    .await;
    let served = 12_000;
    for at in 0..served {
        assert_eq!(send(&stage.meter, &stage).await, 200, "request {at}");
        if at % 100 == 0 {
            assert!(stage.meter.flush(Duration::from_secs(5)).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(ledger(&stage, &stage.meter).await.len(), served);
    slow.set_down(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let heard = slow.heard();
    assert!(heard > 1_000 && heard < served, "{heard} of {served}");
}

#[tokio::test]
async fn what_must_survive_a_power_cut_is_forced_to_the_disk_and_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let journal = small(directory.path()).durability(Durability::Power(Duration::from_millis(5)));
    let stage = Stage::with(&plan(100), Vec::new(), |builder| builder.journal(journal)).await;
    serve(&stage.meter, &stage, 10).await;
    assert_eq!(ledger(&stage, &stage.meter).await.len(), 10);
    let next = restart(&stage, killed(directory.path()).path(), 100).await;
    assert_eq!(ledger(&stage, &next).await.len(), 10, "nothing is sent twice");
    assert_eq!(stage.balance().await.used, Units::new(10));
}

#[tokio::test]
async fn a_journal_whose_files_are_gone_loses_them_and_nothing_that_comes_later() {
    let directory = tempfile::tempdir().unwrap();
    let stage = stage(directory.path(), 1_000).await;
    stage.flaky.recover();
    serve(&stage.meter, &stage, 20).await;
    assert_eq!(ledger(&stage, &stage.meter).await.len(), 20);
    type Damage = fn(&Path);
    let damages: [Damage; 3] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, vec![0; 65_536]).unwrap(),
    ];
    let mut there = 20;
    for damage in damages {
        let left = killed(directory.path());
        segments(left.path()).iter().for_each(|path| damage(path));
        let next = restart(&stage, left.path(), 1_000).await;
        serve(&next, &stage, 5).await;
        there += 5;
        assert_eq!(ledger(&stage, &next).await.len(), there);
        assert_eq!(next.events_lost(), 0);
    }
}

#[tokio::test]
async fn an_interval_that_never_comes_round_leaves_the_journal_at_work() {
    let directory = tempfile::tempdir().unwrap();
    let journal = small(directory.path()).durability(Durability::Power(Duration::MAX));
    let stage = Stage::with(&plan(10_000), Vec::new(), |builder| builder.journal(journal)).await;
    // Many times what its files hold.
    for _ in 0..60 {
        serve(&stage.meter, &stage, 100).await;
        assert!(stage.meter.flush(Duration::from_secs(10)).await);
    }
    assert!(stage.meter.shutdown(Duration::from_secs(10)).await.recorded);
}
