//! The journal's disk is full, or the journal is as long as it may be.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hm_system_tests::http::Call;
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::Load;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::skip::skipped;
use hm_system_tests::wait::until;

const PATIENCE: Duration = Duration::from_secs(60);

/// A disk of 1 MiB at the place of a server's journal; it goes away with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where a process may not mount one.
    fn at(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path);
        let is_there = mount.output().is_ok_and(|output| output.status.success());
        is_there.then_some(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that still uses it keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn settings(journal_bytes: u64) -> Settings {
    Settings::default().file(&format!(
        "[plans.free]\nrequests_per_month = \"unlimited\"\nrequests_per_second = 1000000\n\
         [usage.journal]\nbytes_max = {journal_bytes}\n"
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_refuses_and_recovers_by_itself() {
    requests_are_refused_until_there_is_room(&Place::on_sqlite(), 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let place = Place::on_sqlite();
    let Some(_disk) = SmallDisk::at(place.folder().join("journal")) else {
        skipped("no disk can be mounted here");
        return;
    };
    let log = requests_are_refused_until_there_is_room(&place, 2 << 20).await;
    assert!(log.contains("No space left on device"), "the log says why: {log}");
}

/// Answers what the server wrote to its log.
async fn requests_are_refused_until_there_is_room(place: &Place, journal_bytes: u64) -> String {
    let server = Server::start(place, &settings(journal_bytes)).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "busy").await;
    server
        .call(Call::curiosity(&key.text).named("warm"))
        .await
        .expect(200);
    let lock = place.lock().await;
    let load = Load::begin(server.address(), &key.text, usize::MAX, "load");
    let refusal = until("a request is refused", PATIENCE, async || {
        let answer = server.call(Call::curiosity(&key.text).named("probe")).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refusal.problem(503, "temporarily_unavailable");
    assert!(refusal.number("retry-after") >= 1);
    lock.release().await;
    let before = load.admitted();
    until("requests are served again", PATIENCE, async || {
        (load.admitted() >= before + 100).then_some(())
    })
    .await;
    load.stop();
    let shots = load.end().await;
    let log = server.log().clone();
    server.stop().await;

    let ledger = Ledger::read(place).await;
    let times = ledger.times();
    for id in &shots.admitted() {
        assert_eq!(
            times.get(id.as_str()),
            Some(&1),
            "how often {id} is in the ledger"
        );
    }
    assert_eq!(
        ledger.counted(),
        (ledger.charged(), 0),
        "counter and ledger agree"
    );
    log.text()
}
