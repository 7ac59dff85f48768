//! The journal that a killed server left is damaged: the next start keeps what can be read, and says what is lost.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::fire;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;

const REQUESTS: usize = 100;

/// A place where a server was killed with so many requests in its journal and not in its database.
async fn killed_server() -> (Place, Settings, Key) {
    let place = Place::on_sqlite();
    let settings = Settings::default().file(
        "[plans.free]\nrequests_per_month = \"unlimited\"\nrequests_per_second = 1000000\n\
         [usage]\nflush_interval_ms = 60000\n",
    );
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "unlucky").await;
    let shots = fire(server.address(), &key.text, REQUESTS, "load").await;
    assert_eq!(shots.admitted().len(), REQUESTS);
    server.kill().await;
    assert_eq!(
        Ledger::read(&place).await.events().len(),
        0,
        "all of it waits in the journal"
    );
    (place, settings, key)
}

/// The file of the journal that has records.
fn segment(place: &Place) -> PathBuf {
    let files = fs::read_dir(place.folder().join("journal")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let mut segments: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "hmj1"))
        .collect();
    segments.sort();
    segments.remove(0)
}

/// Starts the next server, and gives what it wrote to its log and how many events there are then.
async fn replayed(place: &Place, settings: &Settings, key: &Key) -> (String, usize) {
    let server = Server::start(place, settings).await;
    key.keep_secret(&server);
    let log = server.log().clone();
    // It is one batch, so it is there whole or not at all.
    until(
        "the ledger has what can be read",
        Duration::from_secs(30),
        async || (!Ledger::read(place).await.events().is_empty()).then_some(()),
    )
    .await;
    server.stop().await;
    let ledger = Ledger::read(place).await;
    assert!(
        ledger.times().values().all(|times| *times == 1),
        "an event is there twice"
    );
    assert_eq!(ledger.counted().0, ledger.charged());
    (log.text(), ledger.events().len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_flipped_bit_costs_one_event_and_is_said() {
    let (place, settings, key) = killed_server().await;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(segment(&place))
        .unwrap();
    let mut byte = [0];
    // In the middle of the records; each has about 200 bytes.
    file.read_exact_at(&mut byte, 10_000).unwrap();
    file.write_all_at(&[byte[0] ^ 0x04], 10_000).unwrap();
    let (log, events) = replayed(&place, &settings, &key).await;
    assert_eq!(events, REQUESTS - 1);
    assert!(log.contains("the journal is damaged"), "{log}");
    assert!(log.contains("events.lost=1"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_cut_short_costs_what_was_behind() {
    let (place, settings, key) = killed_server().await;
    let file = OpenOptions::new().write(true).open(segment(&place)).unwrap();
    file.set_len(10_000).unwrap();
    let (_, events) = replayed(&place, &settings, &key).await;
    assert!(
        (20..REQUESTS).contains(&events),
        "{events} events in 10,000 bytes"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undamaged_journal_is_written_to_the_database_by_the_next_start() {
    let (place, settings, key) = killed_server().await;
    let server = Server::start(&place, &settings).await;
    key.keep_secret(&server);
    until("the ledger is complete", Duration::from_secs(30), async || {
        (Ledger::read(&place).await.events().len() == REQUESTS).then_some(())
    })
    .await;
    server.stop().await;
}
